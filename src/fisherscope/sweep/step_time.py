"""Measure the seconds of a training step at each batch size."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from fisherscope.runs.metadata import current_environment
from fisherscope.runs.step_times import StepTimesRecord, add_step_times, timed_config
from fisherscope.step_cost import no_wait, time_steps
from fisherscope.training import Configuration, TrainState, task_of


@dataclass(frozen=True)
class StepTimes:
    """Hold the median seconds of a step by batch size.

    CPU seconds; on a GPU those on the clock.

    Args:
        plain: Seconds of an unmeasured step.
        measured: Seconds of a measured step.
        spread: Interquartile range of the unmeasured steps, seconds.
        rounds: Steps of each kind that were timed.
        plain_rounds: Seconds of the unmeasured step of each round.
        measured_rounds: Seconds of the measured step of each round.

    Example:
        See `seconds_a_step`.
    """

    plain: dict[int, float]
    measured: dict[int, float]
    spread: dict[int, float]
    rounds: int
    plain_rounds: dict[int, tuple[float, ...]] = field(default_factory=dict)
    measured_rounds: dict[int, tuple[float, ...]] = field(default_factory=dict)


def seconds_a_step(
    config: Configuration | Mapping[str, Any],
    sizes: Sequence[int],
    *,
    rounds: int = 15,
    data_dir: str | os.PathLike[str] | None = None,
) -> StepTimes:
    """Measure the seconds of a training step at each batch size, in rounds over all sizes.

    Seconds are CPU seconds of the process, which other programs disturb less than the clock; on a GPU, which
    works on by itself, those on the clock until it is done. Nothing is written.

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
    on_gpu = torch.device(base.device).type == "cuda"
    timed = time_steps(steps, rounds, wait=torch.cuda.synchronize if on_gpu else no_wait)
    taken = {mode: [one.wall if on_gpu else one.cpu for one in times] for mode, times in timed.items()}
    return StepTimes(
        {size: median(taken[size, False]) for size in sizes},
        {size: median(taken[size, True]) for size in sizes},
        {size: _interquartile_range(taken[size, False]) for size in sizes},
        rounds,
        {size: tuple(taken[size, False]) for size in sizes},
        {size: tuple(taken[size, True]) for size in sizes},
    )


def record_step_times(
    config: Configuration | Mapping[str, Any],
    sizes: Sequence[int],
    directory: str | os.PathLike[str],
    *,
    rounds: int = 15,
    data_dir: str | os.PathLike[str] | None = None,
) -> StepTimesRecord:
    """Measure as `seconds_a_step`, and keep the seconds beside the runs that they hold for.

    Args:
        config: As for `seconds_a_step`.
        sizes: Batch sizes.
        directory: Directory of the runs (`step_times.json` in it gets the record), or an exported file.
        rounds: As for `seconds_a_step`.
        data_dir: As for `seconds_a_step`.

    Returns:
        What was recorded.

    Raises:
        ConfigurationError, TaskError, DataError: The runs cannot train.
        RunError: The file that is there is damaged, or cannot be written.

    Cost: as `seconds_a_step`.

    Example:
        ```python
        from fisherscope.sweep import Grid, record_step_times, run_sweep

        run_sweep(Grid("digits/mlp", (64,), settings={"epochs": 1}), "runs/timed", jobs=1)
        record = record_step_times({"task": "digits/mlp", "threads": 1}, [64], "runs/timed", rounds=3)
        assert len(record.plain[64]) == 3
        ```
    """
    base = Configuration.of(config)
    times = seconds_a_step(base, sizes, rounds=rounds, data_dir=data_dir)
    keys = ("fisherscope", "torch", "machine", "cpus")
    environment = {key: value for key, value in current_environment().items() if key in keys}
    if timed_config(base.identity())["device"] == "cuda":
        environment["gpu"] = torch_device_name(base.device)
    record = StepTimesRecord(
        timed_config(base.identity()), times.plain_rounds, times.measured_rounds,
        rounds=rounds, environment=environment,
    )  # fmt: skip
    if Path(directory).is_file():
        from fisherscope.runs.archive import add_step_times_to_archive

        add_step_times_to_archive(Path(directory), record)
    else:
        add_step_times(Path(directory), record)
    return record


def torch_device_name(device: str) -> str:
    """Return the name of a GPU, such as NVIDIA H200."""
    import torch

    return torch.cuda.get_device_name(torch.device(device))


def _state(base: Configuration, size: int, task: Any, measured: bool) -> TrainState:
    """Make a training state of this batch size that measures every step, or none."""
    values = {**base.model_dump(), "batch_size": size, "policy": f"s{size}", "per_epoch": None, "every": 1}
    values |= {"stride": True} if measured else {"measure": False}
    return TrainState(Configuration.of(values), task)


def _step(state: TrainState, size: int) -> Callable[[], object]:
    indices = list(range(size))
    return lambda: state.step(indices)


def _interquartile_range(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[3 * len(ordered) // 4] - ordered[len(ordered) // 4]
