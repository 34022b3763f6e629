"""How long runs will take: from recorded runs of the same task, else from some measured steps."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import fisherscope as fs
from fisherscope.sweep.grid import cost
from fisherscope.training import Configuration

ALIKE = ("task", "limit_train", "precision", "device", "optimizer", "measure")
"""What two configurations must share for one to tell how long the other takes."""
PROBE_SECONDS = 1.5
PROBE_STEPS = 40


def seconds_left(
    configurations: Sequence[Configuration],
    root: Path,
    *,
    until: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> tuple[dict[str, float], str]:
    """Seconds of each run's epochs that are still to train, one at a time, and what they rest on.

    Args:
        configurations: Runs that have not ended.
        root: Directory of the sweep, whose recorded runs are looked at first.
        until: As for `run_sweep`.
        data_dir: As for `run_sweep`.

    Raises:
        TaskError, DataError, ConfigurationError: The probe cannot train.

    Cost: a few seconds where nothing was recorded.
    """
    if not configurations:
        return {}, "nothing is left"
    recorded = _recorded(configurations[0], root)
    if recorded:
        pace, how = _pace(recorded), f"from {len(recorded)} recorded runs"
    else:
        pace, how = _pace(_probed(configurations, data_dir)), "from some steps measured now"
    found = {}
    for config in configurations:
        left = min(until or config.epochs, config.epochs) - len(fs.runs.epoch_rows(root / config.id))
        found[config.id] = max(left, 0) * _an_epoch(config.batch_size, pace)
    return found, how


def _pace(samples: list[tuple[Configuration, float]]) -> dict[int, float]:
    """Median seconds an epoch by batch size."""
    by_size: dict[int, list[float]] = {}
    for config, seconds in samples:
        by_size.setdefault(config.batch_size, []).append(seconds)
    return {size: statistics.median(values) for size, values in by_size.items()}


def _an_epoch(size: int, pace: dict[int, float]) -> float:
    """Seconds an epoch: 1/|B| times a line through the two nearest sizes that are known."""
    if size in pace:
        return pace[size]
    near = sorted(pace, key=lambda known: abs(1 / known - 1 / size))[:2]
    if len(near) < 2:
        return pace[near[0]] * _share(size) / _share(near[0])
    (a, b), at = near, 1 / size
    slope = (pace[a] - pace[b]) / (1 / a - 1 / b)
    return max(pace[a] + slope * (at - 1 / a), 0.5 * min(pace.values()))


def _share(size: int) -> float:
    return cost(Configuration.of({"task": "", "batch_size": size, "epochs": 1}))


def _recorded(like: Configuration, root: Path) -> list[tuple[Configuration, float]]:
    """Runs like this one that were trained, with their median seconds an epoch."""
    found = []
    for path in filter(fs.runs.is_run, sorted(root.glob("*"))):
        try:
            config = Configuration.of(fs.runs.run_config(path))
            times = [row["time/train_s"] + row["time/eval_s"] for row in fs.runs.epoch_rows(path)]
        except (OSError, ValueError, KeyError, fs.runs.RunError):
            continue
        if times and all(getattr(config, key) == getattr(like, key) for key in ALIKE):
            found.append((config, statistics.median(times)))
    return found


def _probed(
    configurations: Sequence[Configuration], data_dir: str | os.PathLike[str] | None
) -> list[tuple[Configuration, float]]:
    """Seconds an epoch of the runs with the smallest and the largest batch, from some of its steps."""
    import torch

    from fisherscope.training.loop import _session

    ordered = sorted(configurations, key=lambda config: config.batch_size)
    found, threads = [], torch.get_num_threads()
    try:
        for config in {ordered[0].batch_size: ordered[0], ordered[-1].batch_size: ordered[-1]}.values():
            session = _session(config, data_dir)
            times: list[float] = []
            began = time.perf_counter()
            while len(times) < PROBE_STEPS and (
                time.perf_counter() - began < PROBE_SECONDS or len(times) < 3
            ):
                for indices in session.sampler:
                    before = time.perf_counter()
                    session.step(indices)
                    times.append(time.perf_counter() - before)
                    if len(times) >= PROBE_STEPS or time.perf_counter() - began > PROBE_SECONDS:
                        break
            before = time.perf_counter()
            session.epoch_row()
            evaluation = time.perf_counter() - before
            warm = times[1:] or times
            steps = -(-len(session.task.train) // config.batch_size)
            found.append((config, steps * sum(warm) / len(warm) + evaluation))
    finally:
        torch.set_num_threads(threads)
    return found
