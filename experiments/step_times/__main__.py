"""Put the seconds a step of the comparison of dynamic sampling into the exports of the same tasks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import fisherscope as fs
from fisherscope.runs.archive import add_step_times_to_archive
from fisherscope.runs.step_times import StepTimesRecord, timed_config

RESULTS = Path(__file__).parents[1] / "results"
SWEEPS = {
    "digits-resnet8": ("digits-resnet8", "digits-every-step", "dynamic-digits-resnet8"),
    "digits-mlp": ("digits-mlp",),
    "mnist-mlp": ("mnist-mlp", "mnist1000-mlp"),
    "mnist-resnet8": ("mnist-resnet8",),
}
"""Exports by the comparison that measured their task."""


def main() -> None:
    """Write the records."""
    for task, names in SWEEPS.items():
        result = json.loads((RESULTS / f"dynamic-{task}.json").read_text(encoding="utf-8"))
        for name in names:
            path = RESULTS / "sweeps" / f"{name}.zip"
            add_step_times_to_archive(path, record_of(result, path))
            sys.stdout.write(f"{path}\n")


def record_of(result: dict[str, Any], path: Path) -> StepTimesRecord:
    """Return a comparison's cost model as a record for the runs of an export."""
    runs = fs.load_runs(path)
    cost = result["cost_model"]
    numbers = {
        key: {int(size): value for size, value in cost[name].items()}
        for key, name in (
            ("medians", "seconds"),
            ("quartiles", "quartiles"),
            ("measured_medians", "measured"),
        )
    }
    rounds = next(int(word) for word in cost["of"].split() if word.isdigit())
    return StepTimesRecord(
        timed_config(runs.head(next(iter(runs.paths)))["config"]), **numbers, rounds=rounds,
        environment={key: result["environment"][key] for key in ("fisherscope", "torch", "machine")},
    )  # fmt: skip


if __name__ == "__main__":
    main()
