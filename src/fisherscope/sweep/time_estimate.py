"""Predict how long runs take, from recorded runs or a few measured steps."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import fisherscope as fs
from fisherscope.sweep.grid import cost
from fisherscope.training import Configuration

ALIKE = ("task", "limit_train", "precision", "device", "optimizer", "measure")
"""Keys that two configurations must share for one to predict the other's time."""
PROBE_SECONDS = 3.0


def seconds_left(
    configurations: Sequence[Configuration],
    root: Path,
    *,
    until: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> tuple[dict[str, float], str]:
    """Predict the seconds that each run still takes when it trains alone.

    Args:
        configurations: Runs that have not finished.
        root: Directory of the sweep; its recorded runs are used first.
        until: As for `run_sweep`.
        data_dir: As for `run_sweep`.

    Returns:
        Seconds by run id, and what they are based on, in words.

    Raises:
        TaskError, DataError, ConfigurationError: A run cannot train.

    Cost: a few seconds of training if nothing is recorded.

    Example:
        ```python
        from pathlib import Path

        from fisherscope.sweep import Grid, seconds_left

        runs = Grid("digits/mlp", (64,), settings={"epochs": 2}).configurations()
        seconds, basis = seconds_left(runs, Path("runs/absent"))
        assert seconds[runs[0].id] > 0
        ```
    """
    if not configurations:
        return {}, "nothing is left"
    from fisherscope.sweep.sweep_plan import plan_sweep

    plan = plan_sweep(configurations, root, until=until, data_dir=data_dir, seconds=PROBE_SECONDS)
    return plan.seconds, plan.basis


def recorded_pace(like: Configuration, root: Path) -> tuple[dict[int, float], str]:
    """Return the median seconds per epoch, by batch size, of recorded runs that are like this one.

    Args:
        like: A run of the sweep.
        root: Directory of the runs.

    Returns:
        Seconds by batch size, and what they are based on, in words; both empty if no run is recorded.
    """
    records = _recorded_runs(like, root)
    return _pace(records), f"from {len(records)} recorded runs" if records else ""


def run_seconds(config: Configuration, pace: Mapping[int, float]) -> float:
    """Return the seconds of an epoch of a run, from those of recorded batch sizes."""
    return _epoch_seconds(config.batch_size, pace)


def sweep_seconds(run_seconds: Mapping[str, float], jobs: int | None = None) -> tuple[float, int]:
    """Predict the seconds of a sweep that trains several runs at a time.

    Args:
        run_seconds: Seconds by run id, as `seconds_left` predicts.
        jobs: Processes; by default as many as cores.

    Returns:
        Seconds, and the number of runs at a time.

    Example:
        ```python
        from fisherscope.sweep import sweep_seconds

        assert sweep_seconds({"a": 10.0, "b": 20.0, "c": 30.0}, jobs=2) == (30.0, 2)
        ```
    """
    at_a_time = max(1, min(jobs or os.cpu_count() or 1, len(run_seconds) or 1))
    values = run_seconds.values()
    return max(sum(values) / at_a_time, max(values, default=0.0)), at_a_time


def _pace(samples: list[tuple[Configuration, float]]) -> dict[int, float]:
    """Return the median seconds per epoch by batch size."""
    by_size: dict[int, list[float]] = {}
    for config, seconds in samples:
        by_size.setdefault(config.batch_size, []).append(seconds)
    return {size: statistics.median(values) for size, values in by_size.items()}


def _epoch_seconds(size: int, pace: Mapping[int, float]) -> float:
    """Interpolate the seconds of an epoch linearly in 1/|B| between the two nearest sizes."""
    if size in pace:
        return pace[size]
    near = sorted(pace, key=lambda other: abs(1 / other - 1 / size))[:2]
    if len(near) < 2:
        return pace[near[0]] * _relative_cost(size) / _relative_cost(near[0])
    (a, b), at = near, 1 / size
    slope = (pace[a] - pace[b]) / (1 / a - 1 / b)
    return max(pace[a] + slope * (at - 1 / a), 0.5 * min(pace.values()))


def _relative_cost(size: int) -> float:
    return cost(Configuration.of({"task": "", "batch_size": size, "epochs": 1}))


def _recorded_runs(like: Configuration, root: Path) -> list[tuple[Configuration, float]]:
    """List recorded runs that are like this one, with their median seconds per epoch."""
    runs = []
    for path in filter(fs.runs.is_run, sorted(root.glob("*"))):
        try:
            config = Configuration.of(fs.runs.run_config(path))
            times = [row["time/train_s"] + row["time/eval_s"] for row in fs.runs.epoch_rows(path)]
        except (OSError, ValueError, KeyError, fs.runs.RunError):
            continue
        if times and all(getattr(config, key) == getattr(like, key) for key in ALIKE):
            runs.append((config, statistics.median(times)))
    return runs
