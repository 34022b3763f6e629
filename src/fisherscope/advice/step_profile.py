"""Seconds and memory of a training step at each batch size, up to what fits."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import torch

from fisherscope.advice.training_step import AdviceError, StepRunner
from fisherscope.analysis.batch_size.advice import StepTime

Found = TypeVar("Found")
ROUNDS = 12
FREE_SHARE = 0.8
"""Of the free memory that a size may be expected to take."""
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def step_times(
    stepper: StepRunner, sizes: Sequence[int], remaining: Callable[[], float], memory_limit: int | None = None
) -> list[StepTime]:
    """A step of each size, upwards until one does not fit or time is out; then rounds of those.

    The learning rate is set to zero meanwhile; it and the weights are for the caller to put back. The
    least of the rounds is kept, sizes taken in turn, so that a busy machine touches all alike.
    """
    for group in stepper.optimizer.param_groups:
        group["lr"] = 0.0 if not isinstance(group["lr"], torch.Tensor) else torch.zeros_like(group["lr"])
    found: dict[int, StepTime] = {}
    batches: dict[int, Any] = {}
    budget = remaining()
    for size in sorted(set(sizes)):
        found[size] = _reason(
            size, found, (remaining() - budget / 3) / stepper.slowdown, memory_limit
        ) or _first(stepper, size, batches)
        if not found[size].fits and not found[size].why.startswith("failed"):
            break
    least = {size: step.seconds for size, step in found.items() if step.fits and step.seconds is not None}
    for _ in range(ROUNDS):
        for size in least:
            if remaining() > 2 * least[size] * stepper.slowdown:
                least[size] = min(least[size], _seconds(stepper, batches[size]))
    return [
        StepTime(size, least.get(size), step.memory_bytes, step.why, step.fits)
        for size, step in found.items()
    ]


def _reason(
    size: int, found: dict[int, StepTime], remaining: float, memory_limit: int | None
) -> StepTime | None:
    """Why a size is not tried, judged by the largest that ran; None where it may be."""
    ran = [step for step in found.values() if step.fits and step.seconds]
    if not ran:
        return None
    growth, last = size / ran[-1].batch_size, ran[-1]
    if (last.seconds or 0.0) * growth * 2 > remaining:
        return StepTime(size, why="not tried: no time left", fits=None)
    free = _free_memory() if memory_limit is None else memory_limit
    expected = (last.memory_bytes or 0) * growth
    if free is not None and expected > (FREE_SHARE if memory_limit is None else 1.0) * free:
        return StepTime(
            size, why=f"needs about {expected / 2**20:.0f} MiB of {free / 2**20:.0f} free", fits=False
        )
    return None


def _first(stepper: StepRunner, size: int, batches: dict[int, Any]) -> StepTime:
    """The first step of a size, with its memory; running out of memory is recovered from."""
    try:
        batches[size] = stepper.moved(next(stepper.subject.batches(size)))
        before = _reset_peak(stepper.device)
        stepper.step(batches[size])
        peak = _peak(stepper.device)
        seconds = _seconds(stepper, batches[size])
        return StepTime(size, seconds, None if before is None or peak is None else max(0, peak - before))
    except AdviceError:
        raise
    except (RuntimeError, ValueError, MemoryError) as error:
        why = "out of memory" if is_out_of_memory(error) else f"failed: {str(error).splitlines()[0]:.80}"
    batches.pop(size, None)
    _release(stepper)
    return StepTime(size, why=why, fits=False)


def fitting(stepper: StepRunner, size: int, call: Callable[[int], Found]) -> tuple[Found, int]:
    """What `call(size)` gives, and the size: halved while memory runs out, down to 4."""
    while True:
        try:
            return call(size), size
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or size < 8:
                raise
        _release(stepper)
        size //= 2


def _release(stepper: StepRunner) -> None:
    stepper.optimizer.zero_grad(set_to_none=True)
    gc.collect()
    if stepper.device.type == "cuda":
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the allocator failed, on whatever device."""
    text = str(error)
    told = "can't allocate memory" in text or "out of memory" in text.lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or told


def _seconds(stepper: StepRunner, batch: Any) -> float:
    return stepper.timed(lambda: stepper.step(batch))[1]


def _reset_peak(device: torch.device) -> int | None:
    """Begin a new peak; gives the bytes in use."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    with suppress(
        OSError, AttributeError
    ):  # freed memory goes back first, else the step would reuse it unseen
        ctypes.CDLL(None).malloc_trim(0)
    try:
        _RESET.write_text("5")  # Linux: the peak of resident memory begins anew
        return _status("VmRSS")
    except OSError:
        return None


def _peak(device: torch.device) -> int | None:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _status("VmHWM")


def _status(key: str) -> int | None:
    try:
        lines = [line for line in _STATUS.read_text().splitlines() if line.startswith(key)]
    except OSError:
        return None
    return int(lines[0].split()[1]) << 10 if lines else None


def _free_memory() -> int | None:
    """Bytes that a process may still take, on Linux."""
    try:
        pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        lines = Path("/proc/meminfo").read_text().splitlines()
    except (OSError, ValueError):
        return None
    told = [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable")]
    return told[0] if told else pages
