"""Do the intervals of short branches cover what branches four times as long measure?

python -m experiments.branching.coverage --seeds 4 --repetitions 5
"""

import argparse
import json
import math
import platform
from pathlib import Path
from typing import Any

import torch

import fisherscope as fs

RESULTS = Path(__file__).parents[1] / "results" / "branch-coverage.json"
TASK = "text/gpt-mini-tiny"
SAMPLES, LONGER = 2048, 4
OPTIONS: dict[str, Any] = {"sizes": ("0.5x", "1x", "2x", "4x"), "orders": 3}
LONG_SEED, FIRST_SEED = 1000, 10
"""Seeds of the orders of the data: of the long branches, and of the first repetition."""


def fits(result: Any) -> list[dict[str, float]]:
    """Return target, critical batch size and interval of each fit, the lowest loss first."""
    return [
        {key: fit[key] for key in ("target", "critical", "low", "high", "misfit")}
        for fit in result.answer()["arms"][0]["trade_offs"]
    ]


def repetition(short: Any, long: Any) -> dict[str, Any]:
    """Hold one repetition against the long branches: at their lowest loss, and at that nearest to its own."""
    own, reference = fits(short), fits(long)
    row = {"fits": own, "why": short.arms[0].reason}
    if not own or own[0]["critical"] is None or not reference:
        return row | {"covered": False, "covered_at_its_loss": False}
    low, high = own[0]["low"], math.inf if own[0]["high"] is None else own[0]["high"]
    nearest = min(reference, key=lambda fit: abs(fit["target"] - own[0]["target"]))
    return row | {
        "covered": low <= (reference[0]["critical"] or math.inf) <= high,
        "covered_at_its_loss": low <= (nearest["critical"] or math.inf) <= high,
    }


def main() -> None:
    """Run seeds and repetitions, and write the results after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/branch-coverage"))
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    common = {**OPTIONS, "jobs": options.jobs}
    trainings: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        out = options.out / f"seed{seed}"
        settings = {"seed": seed, "limit_test": 300}
        long = fs.branch(TASK, samples=LONGER * SAMPLES, settings=settings, out=out, seed=LONG_SEED, **common)
        trainings.append({"seed": seed, "long": fits(long), "long_why": long.arms[0].reason, "short": []})
        for number in range(options.repetitions):
            first = FIRST_SEED + number * OPTIONS["orders"]
            short = fs.branch(TASK, samples=SAMPLES, settings=settings, out=out, seed=first, **common)
            trainings[-1]["short"].append(repetition(short, long))
            write(trainings, options)


def write(trainings: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Write what is known so far."""
    rows = [row for training in trainings for row in training["short"]]
    result = {
        "command": f"python -m experiments.branching.coverage --seeds {options.seeds} "
        f"--repetitions {options.repetitions}",
        "torch": torch.__version__, "python": platform.python_version(), "device": "cpu", "task": TASK,
        "samples": SAMPLES, "long_samples": LONGER * SAMPLES, "sizes": list(OPTIONS["sizes"]),
        "orders": OPTIONS["orders"], "repetitions": len(rows),
        "covered": sum(row["covered"] for row in rows),
        "covered_at_its_loss": sum(row["covered_at_its_loss"] for row in rows), "trainings": trainings,
    }  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{result['covered']} and {result['covered_at_its_loss']} of {len(rows)}", flush=True)


if __name__ == "__main__":
    main()
