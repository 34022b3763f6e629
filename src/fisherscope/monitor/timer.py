"""How long steps take, and how much of that is measuring."""

import time
from collections import deque
from statistics import median

from fisherscope.monitor.schedule import Schedule

RECENT_STEPS = 64
"""Unmeasured steps whose times give `time/step_s`."""
FEWEST_BLOCKS = 3
"""Unmeasured blocks of the same batch size that a measured one needs to be compared with."""


class StepTimer:
    """Time the steps of one process; a resumed run has a new one."""

    def __init__(self) -> None:
        self._start: float | None = None
        self._measured = False
        self._seconds: deque[float] = deque(maxlen=RECENT_STEPS)
        self._blocks: deque[tuple[int, float]] = deque(maxlen=RECENT_STEPS)

    def tick(self, schedule: Schedule) -> None:
        """Begin a step, and tell the schedule how long the previous one took.

        Args:
            schedule: Receives seconds from the previous step's start to this one's.
        """
        now = time.perf_counter()
        if self._start is not None:
            seconds = now - self._start
            if not self._measured:
                self._seconds.append(seconds)
            schedule.add_time(seconds, self._measured)
        self._start, self._measured = now, False

    def drop(self) -> None:
        """Forget the current step, which did not happen."""
        self._start = None

    def mark_measured(self) -> None:
        """Mark the current step as measured: its time is not that of a plain one."""
        self._measured = True

    def end_block(self, batch_size: int) -> None:
        """Note the time of an `observe` block that ended without a measurement.

        Args:
            batch_size: Samples of the step.
        """
        if self._start is not None:
            self._blocks.append((batch_size, time.perf_counter() - self._start))

    def extra_seconds(self, batch_size: int) -> float:
        """Compare the current block with recent unmeasured ones of its batch size.

        It includes what a measurement's own clock does not see: forward and backward are slower while they
        are recorded.

        Args:
            batch_size: Samples of the current step.

        Returns:
            Seconds beyond their median, at least 0; 0 also where there are fewer than `FEWEST_BLOCKS`.
        """
        plain = [seconds for size, seconds in self._blocks if size == batch_size]
        if self._start is None or len(plain) < FEWEST_BLOCKS:
            return 0.0
        return max(time.perf_counter() - self._start - median(plain), 0.0)

    @property
    def step_seconds(self) -> float | None:
        """Median seconds of recent unmeasured steps; None before there was one."""
        return median(self._seconds) if self._seconds else None
