"""Time calls, and add up how much other processes disturbed them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from fisherscope.step_cost import time_call

_TASKS = Path("/proc/self/task")

Result = TypeVar("Result")


@dataclass
class StepClock:
    """Time calls on one device, and add up how much the machine was disturbed meanwhile.

    On the CPU with one thread, seconds are the process's own, which another process does not lengthen;
    `slowdown` then says how much longer one has to wait.

    Args:
        device: The device that the calls compute on.
        slowdown: Wall seconds for each second that `time` has returned.
        own_seconds: CPU time of the process in all timed calls.
        wall_seconds: Wall time of all timed calls.
        waited_seconds: Time that threads were ready to run and had no core, in all timed calls.
    """

    device: torch.device
    slowdown: float = 1.0
    own_seconds: float = 0.0
    wall_seconds: float = 0.0
    waited_seconds: float = 0.0

    @property
    def single_threaded(self) -> bool:
        """Whether calls compute on one thread of this process alone."""
        return self.device.type == "cpu" and torch.get_num_threads() == 1

    def time(self, call: Callable[[], Result]) -> tuple[Result, float]:
        """Time one call, with what it has started on the device.

        Args:
            call: A function without arguments.

        Returns:
            What it returns, and its seconds: CPU time of the process if `single_threaded`, else wall time.

        Cost: waits for the device before and after the call.
        """
        single_threaded, waited_before = self.single_threaded, waited_seconds()
        result, (wall, own) = time_call(call, self._synchronize)
        self.own_seconds, self.wall_seconds = self.own_seconds + own, self.wall_seconds + wall
        self.waited_seconds += max(0.0, waited_seconds() - waited_before)  # less if a thread has ended
        if not single_threaded:
            return result, wall
        if self.own_seconds:
            self.slowdown = max(1.0, self.wall_seconds / self.own_seconds)
        return result, own

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def waited_seconds() -> float:
    """Read how long threads of this process were ready to run and had no core.

    Source: the second field of /proc/…/schedstat (Documentation/scheduler/sched-stats of the kernel).

    Returns:
        Seconds since the threads began, summed over them; 0 where the system is not Linux.
    """
    return sum(map(_waited_nanoseconds, _TASKS.glob("*/schedstat"))) / 1e9


def _waited_nanoseconds(schedstat: Path) -> int:
    try:
        return int(schedstat.read_text().split()[1])
    except (OSError, IndexError):  # the thread has ended
        return 0
