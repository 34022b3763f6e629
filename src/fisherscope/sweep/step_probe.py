"""Time a few steps of a task and watch their memory, within seconds, to plan a sweep of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fisherscope.step_cost import Seconds, process_memory, time_call
from fisherscope.tasks.split import Subset
from fisherscope.training import Configuration, TrainState, task_of

BUDGET_SECONDS = 10.0
"""Seconds of timed steps; reading the data and the first step of each kind come on top."""
_PLAIN_SHARE, _MEASURED_SHARE = 0.5, 0.35
_ROUNDS = 5
_MEASURED_MEMORY = 1.2
"""Memory of a measured step over that of a plain one, at most (docs/cost.md)."""
_EVALUATED = 1000
_LARGEST_TIMED = 4096
"""Samples of a timed step at most; a measured one of them takes 0.3 GB. Larger ones follow from these."""
_VALUE_BYTES = 9
"""A number of the monitor's history in a checkpoint."""
Listener = Callable[[str], None]


@dataclass(frozen=True)
class StepProbe:
    """Hold seconds and bytes from which the cost of any run of a task is scaled.

    Args:
        plain: Seconds of an unmeasured step by batch size, as far as the time allowed.
        measured: Seconds of a measured step by batch size.
        evaluated: Seconds to evaluate one sample.
        samples: Training samples.
        evaluated_samples: Samples that each epoch evaluates.
        state_bytes: Bytes of a model with its optimizer in a checkpoint.
        row_bytes: Bytes of a measured step's row.
        row_values: Values in it.
        memory: Bytes of the process with data, model and optimizer; None if the system does not say.
        step_memory: Bytes that a step adds, by batch size.

    Example:
        See `probe_steps`.
    """

    plain: dict[int, float]
    measured: dict[int, float]
    evaluated: float
    samples: int
    evaluated_samples: int
    state_bytes: int
    row_bytes: int
    row_values: int
    memory: int | None
    step_memory: dict[int, int]

    def step_seconds(self, size: int, measured: bool = False) -> float:
        """Estimate the seconds of a step; see `probe_steps`.

        Args:
            size: Batch size.
            measured: Whether the step is measured.

        Returns:
            Seconds, linear in the batch size between and beyond those timed.
        """
        if not measured or size in self.measured:
            return _linear(self.measured if measured else self.plain, size)
        largest = max(self.measured)
        if size < largest:
            return _linear(self.measured, size)
        return _linear(self.plain, size) * self.measured[largest] / _linear(self.plain, largest)

    def memory_of(self, size: int) -> int | None:
        """Estimate the bytes of a process that trains; see `probe_steps`.

        Args:
            size: Batch size.

        Returns:
            Bytes; None if unknown.
        """
        if self.memory is None:
            return None
        return self.memory + round(_MEASURED_MEMORY * _linear(self.step_memory, size))


def probe_steps(
    config: Configuration,
    sizes: Sequence[int],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    seconds: float = BUDGET_SECONDS,
    listener: Listener = lambda _: None,
) -> StepProbe:
    """Time steps from the smallest batch upwards, and extrapolate to the larger ones.

    Args:
        config: Task, network and device; its batch size is not used.
        sizes: Batch sizes of the sweep; of those above the training samples, or above 4096, none is timed.
        data_dir: Directory of the data files, as for `fs.tasks.get`.
        seconds: Time for the steps.
        listener: Called with a sentence when the next part begins.

    Returns:
        Seconds, CPU seconds on a CPU with one thread, and bytes.

    Raises:
        ConfigurationError, TaskError, DataError: The runs cannot train.

    Cost: `seconds`, and reading the data. Nothing is written.

    Example:
        ```python
        from fisherscope.sweep import probe_steps
        from fisherscope.training import Configuration

        probe = probe_steps(Configuration.of({"task": "digits/mlp", "threads": 1}), [8, 64], seconds=0.5)
        assert probe.step_seconds(64) > 0
        ```
    """
    threads = torch.get_num_threads()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    try:
        listener(f"reading the data of {config.task}")
        task = task_of(config, data_dir)
        return _probe(config, task, sorted(set(sizes)), seconds, listener)
    finally:
        torch.set_num_threads(threads)


def _probe(
    config: Configuration, task: Any, sizes: list[int], seconds: float, listener: Listener
) -> StepProbe:
    sizes = sorted({min(size, len(task.train), _LARGEST_TIMED) for size in sizes})
    plain, measured = (_state(config, sizes[0], task, measuring) for measuring in (False, True))
    clock = _clock(config)
    listener(f"timing steps of {config.task}")
    memory = (
        _reset_peak()
    )  # steps go from small to large: memory that one gave back would hide what another takes
    plain_seconds, step_memory = _time_sizes(plain, sizes, seconds * _PLAIN_SHARE, clock, memory, fewest=2)
    listener(f"timing measured steps, after steps of {_numbers(plain_seconds)} samples")
    measured_seconds, _ = _time_sizes(measured, sizes, seconds * _MEASURED_SHARE, clock)
    listener(f"timing an evaluation, after measured steps of {_numbers(measured_seconds)} samples")
    evaluated = _evaluation_seconds(plain, seconds * (1 - _PLAIN_SHARE - _MEASURED_SHARE), clock)
    state = measured.state_dict()
    row = measured.monitor.measurement or {}
    return StepProbe(
        plain_seconds, measured_seconds, evaluated, len(task.train),
        len(measured.scored.train) + _evaluated_samples(task),
        sum(_tensor_bytes(state[name]) for name in ("model", "optimizer")),
        len(json.dumps(row)), len(row),
        memory if config.device == "cpu" else None, step_memory,
    )  # fmt: skip


def _evaluated_samples(task: Any) -> int:
    return len(task.validation) + (0 if task.test is task.validation else len(task.test))


def _state(config: Configuration, size: int, task: Any, measured: bool) -> TrainState:
    """Make a training state that measures every step, or none."""
    values = {**config.model_dump(), "batch_size": size, "policy": f"s{size}", "per_epoch": None, "every": 1}
    values |= {"stride": True, "measure": True} if measured else {"measure": False}
    return TrainState(Configuration.of(values), task)


def _clock(config: Configuration) -> Callable[[Seconds], float]:
    """Choose CPU seconds, which other programs hardly disturb, where they are those of a quiet clock."""
    return (lambda s: s.cpu) if config.device == "cpu" and config.threads == 1 else (lambda s: s.wall)


def _wait(state: TrainState) -> None:
    if state.device.type == "cuda":
        torch.cuda.synchronize(state.device)


def _time_sizes(
    state: TrainState,
    sizes: list[int],
    budget: float,
    clock: Callable[[Seconds], float],
    before: int | None = None,
    fewest: int = 1,
) -> tuple[dict[int, float], dict[int, int]]:
    """Time steps of rising batch sizes; stop before one that would exceed the budget.

    Returns:
        Seconds, and bytes that the step added to the process's memory, by batch size.
    """
    found: dict[int, float] = {}
    memory: dict[int, int] = {}
    end = time.perf_counter() + budget
    time_call(lambda: state.step(list(range(sizes[0]))), lambda: _wait(state))  # the first step prepares
    for size in sizes:
        indices = list(range(size))
        if len(found) >= fewest and time.perf_counter() + 2 * _linear(found, size) > end:
            break
        times = []
        for _ in range(_ROUNDS):
            times.append(clock(time_call(lambda: state.step(indices), lambda: _wait(state))[1]))  # noqa: B023
            if time.perf_counter() + 2 * times[-1] > end:
                break
        found[size] = sorted(times)[len(times) // 2]
        peak = process_memory("VmHWM")
        memory[size] = max(0, peak - before) if peak is not None and before is not None else 0
    return found, memory


def _numbers(values: Iterable[int]) -> str:
    return ", ".join(map(str, values))


def _reset_peak() -> int | None:
    """Reset the recorded peak of this process's memory; return the memory in use."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return process_memory("VmRSS")


def _evaluation_seconds(state: TrainState, budget: float, clock: Callable[[Seconds], float]) -> float:
    """Return the seconds to evaluate one validation sample, from as many as the budget allows."""
    count = min(16, len(state.task.validation))
    for _ in range(2):
        numbers = torch.arange(count)
        part = replace(state.task, validation=Subset(state.task.validation, numbers))
        _, taken = time_call(lambda: part.evaluate(state.model, "validation", device=state.device))  # noqa: B023
        each = clock(taken) / count
        count = max(
            1, min(_EVALUATED, len(state.task.validation), int(budget / max(taken.wall / count, 1e-9)))
        )
    return each


def _tensor_bytes(value: Any) -> int:
    """Add up the bytes of the tensors in nested containers."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(map(_tensor_bytes, value.values()))
    return sum(map(_tensor_bytes, value)) if isinstance(value, list | tuple) else 0


def _linear(known: dict[int, Any], size: int) -> float:
    """Interpolate between the two nearest sizes, or extrapolate from the two at the end; never downwards."""
    if size in known:
        return float(known[size])
    sizes = sorted(known)
    if len(sizes) == 1:
        return float(known[sizes[0]]) * max(size / sizes[0], 1.0)
    above = next((k for k, other in enumerate(sizes) if other > size), len(sizes) - 1)
    low, high = sizes[max(above - 1, 0)], sizes[max(above, 1)]
    slope = (known[high] - known[low]) / (high - low)
    value = known[low] + max(slope, 0.0) * (size - low)
    return float(max(value, min(known.values()) * min(size / sizes[0], 1.0)))
