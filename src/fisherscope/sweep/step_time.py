"""Measure the seconds of a training step at each batch size."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from fisherscope.step_cost import time_steps
from fisherscope.training import Configuration, TrainState, task_of


@dataclass(frozen=True)
class StepTimes:
    """Hold the median CPU seconds of a step by batch size.

    Args:
        plain: Seconds of an unmeasured step.
        measured: Seconds of a measured step.
        spread: Interquartile range of the unmeasured steps, seconds.
        rounds: Steps of each kind that were timed.

    Example:
        See `seconds_a_step`.
    """

    plain: dict[int, float]
    measured: dict[int, float]
    spread: dict[int, float]
    rounds: int


def seconds_a_step(
    config: Configuration | Mapping[str, Any],
    sizes: Sequence[int],
    *,
    rounds: int = 15,
    data_dir: str | os.PathLike[str] | None = None,
) -> StepTimes:
    """Measure the seconds of a training step at each batch size, in rounds over all sizes.

    Seconds are CPU seconds of the process, which other programs disturb less than the clock. Nothing is
    written.

    Args:
        config: Task, network and device; its batch size is not used.
        sizes: Batch sizes, none above the number of samples.
        rounds: Rounds; in each, every size takes an unmeasured and a measured step.
        data_dir: Directory of the data files, as for `fs.tasks.get`.

    Returns:
        Median seconds by batch size.

    Raises:
        ConfigurationError, TaskError, DataError: The runs cannot train.

    Cost: 2 × (`rounds` + 1) steps of each size, and two models of each size in memory.

    Example:
        ```python
        from fisherscope.sweep import seconds_a_step

        times = seconds_a_step({"task": "digits/mlp"}, [8, 64], rounds=3)
        assert times.plain[8] > 0
        ```
    """
    import torch

    base = Configuration.of(config)
    if base.threads is not None:
        torch.set_num_threads(base.threads)
    task = task_of(base, data_dir)
    steps: dict[tuple[int, bool], Callable[[], object]] = {
        (size, measured): _step(_state(base, size, task, measured), size)
        for size in sizes
        for measured in (False, True)
    }
    cpu = {mode: [one.cpu for one in times] for mode, times in time_steps(steps, rounds).items()}
    return StepTimes(
        {size: median(cpu[size, False]) for size in sizes},
        {size: median(cpu[size, True]) for size in sizes},
        {size: _interquartile_range(cpu[size, False]) for size in sizes},
        rounds,
    )


def _state(base: Configuration, size: int, task: Any, measured: bool) -> TrainState:
    """Make a training state of this batch size that measures every step, or none."""
    values = {**base.identity(), "batch_size": size, "policy": f"s{size}", "per_epoch": None, "every": 1}
    values |= {"stride": True} if measured else {"measure": False}
    return TrainState(Configuration.of(values), task)


def _step(state: TrainState, size: int) -> Callable[[], object]:
    indices = list(range(size))
    return lambda: state.step(indices)


def _interquartile_range(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[3 * len(ordered) // 4] - ordered[len(ordered) // 4]
