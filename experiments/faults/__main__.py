"""Make every internal function raise, in a training each: python -m experiments.faults.

Writes experiments/results/faults.json: how many functions of each room, in which loop and mode, and what was
not as it should be.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import logging
import platform
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tests.cases.fault_trials import During, internals_called, problem_of
from tests.cases.guarded_loops import MODES, Outcome, plain_loop
from tests.cases.guarded_trainings import FRAMEWORKS, TRAININGS

RESULT = Path(__file__).parents[1] / "results" / "faults.json"
LOOPS = {"plain": tuple(MODES), **FRAMEWORKS}


def try_all(train: Callable[[bool, During | None], Outcome]) -> dict[str, Any]:
    """Make each function that a training calls raise in a training of its own; count them by room."""
    unmonitored, undisturbed = train(False, None), train(True, None)
    internals = internals_called(lambda during: train(True, during))
    gc.collect()
    gc.freeze()  # Trainer collects garbage at its end: what is loaded need not be looked at
    found = [
        problem_of(lambda during: train(True, during), internal, unmonitored, undisturbed)
        for internal in internals
    ]
    gc.unfreeze()
    if not undisturbed.is_same_training(unmonitored) or undisturbed.failures() or undisturbed.warned:
        found.append("the undisturbed training is not that of an unmonitored one, or is not measured")
    rooms = Counter(internal.file.partition("/")[0] for internal in internals)
    return {
        "functions": len(internals),
        "rooms": dict(sorted(rooms.items())),
        "problems": [text for text in found if text],
    }


def main() -> None:
    """Train, raise, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loops", nargs="+", default=list(LOOPS), choices=list(LOOPS))
    parser.add_argument("--modes", nargs="+", default=sorted({m for modes in LOOPS.values() for m in modes}))
    parser.add_argument("-o", "--out", type=Path, default=RESULT)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    result: dict[str, Any] = {
        "command": "make campaign-faults",
        "versions": {name: version(name) for name in ("fisherscope", "torch", "lightning", "transformers")},
        "python": platform.python_version(),
        "device": "cpu",
    }
    for loop in options.loops:
        result[loop] = {}
        for mode in (mode for mode in LOOPS[loop] if mode in options.modes):
            result[loop][mode] = try_loop(loop, mode)
            seen = result[loop][mode]
            print(
                f"{loop}, {mode}: {seen['functions']} functions, {len(seen['problems'])} problems", flush=True
            )
            options.out.write_text(json.dumps(result, indent=1) + "\n")


def try_loop(loop: str, mode: str) -> dict[str, Any]:
    """Make every function of one loop and mode raise."""
    with tempfile.TemporaryDirectory() as folder:
        places = (Path(folder) / str(k) for k in itertools.count())

        def train(monitored: bool, during: During | None) -> Outcome:
            more = {} if during is None else {"during": during}
            if loop == "plain":
                return plain_loop(mode, monitored, **more)
            return TRAININGS[loop](mode, monitored, next(places), **more)

        return try_all(train)


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    main()
