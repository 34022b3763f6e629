"""Measure the seconds of steps and the memory of this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

Value = TypeVar("Value")
Mode = TypeVar("Mode", bound=Hashable)
_STATUS = Path("/proc/self/status")


class Seconds(NamedTuple):
    """Hold how long a call took.

    Args:
        wall: Seconds on the clock.
        cpu: CPU seconds of this process, all threads together; other programs hardly disturb them.
    """

    wall: float
    cpu: float


OUT_OF_MEMORY = (
    "out of memory",  # CUDA, HIP, XPU, MPS
    "can't allocate memory",  # torch on the CPU, Linux and macOS
    "not enough memory",  # torch on the CPU, Windows
    "cannot allocate memory",  # the operating system
    "unable to allocate",  # numpy
    "bad_alloc",
    "invalid buffer size",  # MPS, a single tensor
    "unable to find an engine",  # cuDNN: no engine whose workspace fits
    "cudnn_status_not_supported",  # cuDNN, where a workspace does not fit
    "_alloc_failed",  # cuBLAS, cuDNN, cuSOLVER, cuFFT
    "_status_allocation_failed",  # MIOpen, rocBLAS
    "out_of_device_memory",  # Level Zero
    "out_of_host_memory",
    "out_of_resources",
    "pt_devmem allocation failed",  # HPU
    "resource_exhausted",  # XLA
)
"""What allocators and kernel libraries say when memory runs out, in lower case.

Source: the lists of accelerate (`should_reduce_batch_size`) and Lightning (`is_oom_error`), and the error
names of the libraries.
"""


def is_out_of_memory(error: BaseException) -> bool:
    """Recognise that memory ran out, on whatever device and in whatever words.

    Args:
        error: An exception of a step, or one raised from it.

    Returns:
        Whether it, or what it was raised from, is the error of an allocator.

    Example:
        ```python
        from fisherscope.step_cost import is_out_of_memory

        assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"))
        assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
        ```
    """
    cause: BaseException | None = error
    while cause is not None:
        text = str(cause).lower()
        if isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError":
            return True
        if isinstance(cause, RuntimeError | OSError) and any(words in text for words in OUT_OF_MEMORY):
            return True
        cause = cause.__cause__
    return False


def no_wait() -> None:
    """Wait for nothing: on the CPU a call has done its work when it returns."""


def time_call(call: Callable[[], Value], wait: Callable[[], object] = no_wait) -> tuple[Value, Seconds]:
    """Call a function and measure its seconds.

    Args:
        call: The function.
        wait: Waits until the device is idle; called before the clock starts and before it stops.

    Returns:
        The function's value, and its seconds.
    """
    wait()
    cpu, wall = time.process_time(), time.perf_counter()
    value = call()
    wait()
    return value, Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def time_steps(
    steps: Mapping[Mode, Callable[[], object]],
    rounds: int,
    *,
    fewer: Mapping[Mode, int] | None = None,
    least: int = 0,
    budget: float = float("inf"),
    warm_up: int = 1,
    before: Callable[[], object] = no_wait,
    wait: Callable[[], object] = no_wait,
) -> dict[Mode, list[Seconds]]:
    """Time steps of several modes in turn, so that a busy machine slows all of them alike.

    Args:
        steps: A step of each mode.
        rounds: Rounds in which each mode is timed once.
        fewer: Rounds of the modes that take part in fewer.
        least: Rounds that are timed even when the budget is spent.
        budget: Seconds on the clock after which no further round begins.
        warm_up: Rounds that run first and are not counted.
        before: Called before each step, outside its time.
        wait: As `time_call`.

    Returns:
        Seconds of each round by mode; entry k of two modes belongs to the same round.
    """
    seconds: dict[Mode, list[Seconds]] = {mode: [] for mode in steps}
    began = time.perf_counter()
    for turn in range(warm_up + rounds):
        if turn >= warm_up + least and time.perf_counter() - began >= budget:
            break
        for mode, step in steps.items():
            if fewer and turn >= warm_up + fewer.get(mode, rounds):
                continue
            before()
            _, taken = time_call(step, wait)
            if turn >= warm_up:
                seconds[mode].append(taken)
    return seconds


def process_memory(key: str) -> int | None:
    """Read a memory figure of this process.

    Args:
        key: "VmRSS", memory in use, or "VmHWM", its peak, as in /proc/self/status.

    Returns:
        Bytes; None where the system has no such file or figure (only Linux has).
    """
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:")), None)
