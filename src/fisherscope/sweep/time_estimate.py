"""Predict how long runs take, from recorded runs or a few measured steps."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import fisherscope as fs
from fisherscope.step_cost import time_call
from fisherscope.sweep.grid import cost
from fisherscope.training import Configuration, TrainState, make_state

ALIKE = ("task", "limit_train", "precision", "device", "optimizer", "measure")
"""Keys that two configurations must share for one to predict the other's time."""
PROBE_SECONDS = 1.5
PROBE_STEPS, FEWEST_STEPS = 40, 3


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
    records = _recorded_runs(configurations[0], root)
    if records:
        pace, basis = _pace(records), f"from {len(records)} recorded runs"
    else:
        pace, basis = _pace(_probe_runs(configurations, data_dir)), "from some steps measured now"
    seconds = {}
    for config in configurations:
        epochs = min(until or config.epochs, config.epochs) - len(fs.runs.epoch_rows(root / config.id))
        seconds[config.id] = max(epochs, 0) * _epoch_seconds(config.batch_size, pace)
    return seconds, basis


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


def _epoch_seconds(size: int, pace: dict[int, float]) -> float:
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


def _probe_runs(
    configurations: Sequence[Configuration], data_dir: str | os.PathLike[str] | None
) -> list[tuple[Configuration, float]]:
    """Measure the seconds per epoch of the runs with the smallest and the largest batch."""
    import torch

    ordered = sorted(configurations, key=lambda config: config.batch_size)
    ends = {config.batch_size: config for config in (ordered[0], ordered[-1])}
    threads = torch.get_num_threads()
    try:
        return [(config, _probe(make_state(config, data_dir))) for config in ends.values()]
    finally:
        torch.set_num_threads(threads)


def _probe(state: TrainState) -> float:
    """Measure the seconds of an epoch, from some of its steps and its evaluation."""
    batches, times = _endless(state.sampler), list[float]()
    began = time.perf_counter()
    while len(times) < FEWEST_STEPS or (
        len(times) < PROBE_STEPS and time.perf_counter() - began <= PROBE_SECONDS
    ):
        indices = next(batches)
        times.append(time_call(lambda: state.step(indices))[1].wall)  # noqa: B023  (called at once)
    evaluation = time_call(state.epoch_row)[1].wall
    warm = times[1:] or times
    steps = -(-len(state.task.train) // state.config.batch_size)
    return steps * sum(warm) / len(warm) + evaluation


def _endless(sampler: Iterable[list[int]]) -> Iterator[list[int]]:
    while True:
        yield from sampler
