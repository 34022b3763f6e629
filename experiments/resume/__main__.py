"""Resume drawn trainings by Lightning and Trainer from every checkpoint, compare each with the whole one.

python -m experiments.resume --lightning 30 --transformers 10
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections import Counter
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tests.cases.resumed_trainings import draw, resume_everywhere

import fisherscope as fs

RESULT = Path(__file__).parents[1] / "results" / "resume.json"


def resume_cases(framework: str, count: int) -> dict[str, Any]:
    """Resume `count` trainings everywhere; count checkpoints, and those where something differs."""
    cases, checkpoints, different, what = [], 0, [], Counter[str]()
    for seed in range(count):
        case = draw(seed)
        with tempfile.TemporaryDirectory() as folder:
            outcomes = list(resume_everywhere(framework, case, Path(folder)))
        checkpoints += len(outcomes)
        different += [f"seed {seed}, {name}: {', '.join(texts)}" for name, texts in outcomes if texts]
        what.update(text for _, texts in outcomes for text in texts)
        cases.append({**asdict(case), "checkpoints": len(outcomes)})
    return {"checkpoints": checkpoints, "different": different, "what_differs": dict(what), "cases": cases}


def main() -> None:
    """Train, resume, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lightning", type=int, default=30, help="Trainings by Lightning.")
    parser.add_argument("--transformers", type=int, default=10, help="Trainings by Trainer.")
    parser.add_argument("-o", "--out", type=Path, default=RESULT)
    options = parser.parse_args()
    counts = {"lightning": options.lightning, "transformers": options.transformers}
    result = {
        "command": f"python -m experiments.resume --lightning {options.lightning} "
        f"--transformers {options.transformers}",
        "versions": {name: version(name) for name in ("fisherscope", "torch", *counts)},
        "python": platform.python_version(),
        "device": "cpu",
        **{framework: resume_cases(framework, count) for framework, count in counts.items()},
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    for framework in counts:
        seen = result[framework]
        print(f"{framework}: {seen['checkpoints']} checkpoints, {len(seen['different'])} different")


if __name__ == "__main__":
    torch.set_num_threads(1)
    assert fs.__version__
    main()
