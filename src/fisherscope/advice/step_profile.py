"""Phase 3 of advice: seconds and memory of a training step at each batch size."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from fisherscope.advice.training_step import AdviceError, StepRunner
from fisherscope.analysis.batch_size.advice import StepTime
from fisherscope.step_cost import is_out_of_memory, process_memory
from fisherscope.tasks import error_text, reraise_with_location

LARGEST = 4096
"""The largest batch size that is timed unless the caller chooses the sizes."""
UNKNOWN_DATASET_SIZE = 1024
"""The same where the number of samples is not known."""
ROUNDS = 12
FREE_SHARE = 0.8
"""Share of the free memory that a size may be expected to take."""
WAITING_SHARE = 0.25
"""Share of the timed seconds that a thread may have waited for a core."""
IMPLAUSIBLE_RATIO = 1.5
"""Ratio up to which a smaller batch may take longer: the least of several rounds varies."""
_RESET = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class StepProfile:
    """Times of training steps, and how far they can be trusted.

    Args:
        steps: Seconds and memory of each size, by ascending size.
        doubts: Signs that the seconds are not those of an idle machine.
        slowdown: Wall seconds per CPU second where CPU time was measured, else 1.
    """

    steps: list[StepTime]
    doubts: list[str]
    slowdown: float


def profile_steps(
    runner: StepRunner, sizes: Sequence[int] | None, remaining: Callable[[], float],
    memory_limit: int | None = None,
) -> StepProfile:  # fmt: skip
    """Time a step of each batch size, and judge the times.

    Sizes are tried upwards until one does not fit or time is out, then in rounds; the least of the rounds is
    kept, sizes taken in turn, so that a busy machine affects all alike. The learning rate is set to zero
    meanwhile; restoring it and the weights is the caller's part.

    Args:
        runner: Model, loss, data and optimizer.
        sizes: Batch sizes; None for powers of two up to the data set's size or 4096.
        remaining: Returns the seconds that are left.
        memory_limit: Bytes that a step may take; None for what is free.

    Returns:
        The times.

    Raises:
        AdviceError: As `StepRunner.loss`.
    """
    sizes = sizes or _default_sizes(runner.subject.dataset_size)
    steps = _step_times(runner, sizes, remaining, memory_limit)
    clock = runner.clock
    if clock.single_threaded:
        return StepProfile(steps, [], clock.slowdown)
    waiting_seconds = clock.waited_seconds / torch.get_num_threads()
    return StepProfile(steps, doubts(steps, clock.wall_seconds, waiting_seconds), clock.slowdown)


def doubts(steps: Sequence[StepTime], wall_seconds: float, waiting_seconds: float) -> list[str]:
    """Look for signs that seconds of several threads are not those of an idle machine.

    Args:
        steps: Measured times, by ascending batch size.
        wall_seconds: Wall time of everything that was timed.
        waiting_seconds: Time that a thread waited for a core meanwhile, the mean over those that computed.

    Returns:
        At most one sentence, without a full stop; empty if nothing contradicts the times.
    """
    if wall_seconds and waiting_seconds > WAITING_SHARE * wall_seconds:
        return [
            f"the machine was busy: each thread waited {waiting_seconds:.1f} s for a core in "
            f"{wall_seconds:.1f} s of timing, so the seconds per step and the recommended batch size may "
            "be far off. Run it again when nothing else runs, or with one thread (OMP_NUM_THREADS=1), for "
            "which CPU time is measured"
        ]
    times = [(step.batch_size, step.seconds) for step in steps if step.fits and step.seconds]
    for (small, longer), (large, shorter) in pairwise(times):
        if longer > IMPLAUSIBLE_RATIO * shorter:
            return [
                f"a step of {small} took longer ({longer:.3g} s) than one of {large} ({shorter:.3g} s): the "
                "machine was busy, or small batches use a slower kernel; run it again before relying on it"
            ]
    return []


def _default_sizes(samples: int | None) -> tuple[int, ...]:
    """4, 8, 16, … up to the samples of an epoch."""
    most = UNKNOWN_DATASET_SIZE if samples is None else min(samples, LARGEST)
    return tuple(2**k for k in range(2, 13) if 2**k <= most)


def _step_times(
    runner: StepRunner, sizes: Sequence[int], remaining: Callable[[], float], memory_limit: int | None
) -> list[StepTime]:
    for group in runner.optimizer.param_groups:
        group["lr"] = 0.0 if not isinstance(group["lr"], torch.Tensor) else torch.zeros_like(group["lr"])
    steps: dict[int, StepTime] = {}
    batches: dict[int, Any] = {}
    budget = remaining()
    for size in sorted(set(sizes)):
        seconds_left = (remaining() - budget / 3) / runner.clock.slowdown
        steps[size] = _expected_obstacle(size, steps, seconds_left, memory_limit) or _first_step(
            runner, size, batches
        )
        if not steps[size].fits and not steps[size].why.startswith("failed"):
            break
    least = {size: step.seconds for size, step in steps.items() if step.fits and step.seconds is not None}
    for _ in range(ROUNDS):
        for size in least:
            if remaining() > 2 * least[size] * runner.clock.slowdown:
                doing = f"advising on {runner.subject.name}: a batch of {size} samples"
                with reraise_with_location(doing, "fix it, or give other batch sizes"):
                    least[size] = min(least[size], _seconds(runner, batches[size]))
    return [
        StepTime(size, least.get(size), step.memory_bytes, step.why, step.fits)
        for size, step in steps.items()
    ]


def _expected_obstacle(
    size: int, steps: dict[int, StepTime], remaining: float, memory_limit: int | None
) -> StepTime | None:
    """Tell why a size can't be run, extrapolated from smaller ones; None if it can."""
    smaller = [step for step in steps.values() if step.fits and step.seconds]
    if not smaller:
        return None
    growth, last = size / smaller[-1].batch_size, smaller[-1]
    if (last.seconds or 0.0) * growth * 2 > remaining:
        return StepTime(size, why="not measured (time limit; increase seconds)", fits=None)
    free = _free_memory() if memory_limit is None else memory_limit
    expected = (last.memory_bytes or 0) * growth
    if free is not None and expected > (FREE_SHARE if memory_limit is None else 1.0) * free:
        return StepTime(
            size, why=f"needs about {expected / 2**20:.0f} MiB of {free / 2**20:.0f} free", fits=False
        )
    return None


def _first_step(runner: StepRunner, size: int, batches: dict[int, Any]) -> StepTime:
    """Time the first step of a size and its memory; recover from running out of memory."""
    try:
        batches[size] = next(runner.batches(size))
        before = _reset_peak(runner.device)
        runner.step(batches[size])
        peak = _peak(runner.device)
        seconds = _seconds(runner, batches[size])
        return StepTime(size, seconds, None if before is None or peak is None else max(0, peak - before))
    except AdviceError:
        raise
    except Exception as error:  # noqa: BLE001  (a size that the user's code refuses does not end the others)
        why = "out of memory" if is_out_of_memory(error) else f"failed: {error_text(error)}"
    batches.pop(size, None)
    runner.release_memory()
    return StepTime(size, why=why, fits=False)


def _seconds(runner: StepRunner, batch: Any) -> float:
    return runner.clock.time(lambda: runner.step(batch))[1]


def _reset_peak(device: torch.device) -> int | None:
    """Start a new peak; returns the bytes in use, None where the system does not report them."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    # Freed memory goes back to the system first, or the step would reuse it unseen.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        _RESET.write_text("5")  # Linux: resets the peak of resident memory
        return process_memory("VmRSS")
    except OSError:
        return None


def _peak(device: torch.device) -> int | None:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else process_memory("VmHWM")


def _free_memory() -> int | None:
    """Bytes that a process may still allocate; None where the system is not Linux."""
    try:
        pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        lines = Path("/proc/meminfo").read_text().splitlines()
    except (OSError, ValueError):
        return None
    available = [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable")]
    return available[0] if available else pages
