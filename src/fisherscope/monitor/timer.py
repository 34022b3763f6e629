"""How long steps take, and how much of that is measuring."""

import time
from collections import deque
from statistics import median

from fisherscope.monitor.schedule import Schedule

RECENT_STEPS = 64
"""Unmeasured steps whose times give `time/step_s`."""
COMPARED = 3
"""Unmeasured blocks of the same batch size that a measured one needs to be compared with."""


class StepTimer:
    """Times the steps of one process; a resumed run has a new one."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._measured = False
        self._seconds: deque[float] = deque(maxlen=RECENT_STEPS)
        self._blocks: deque[tuple[int, float]] = deque(maxlen=RECENT_STEPS)

    def tick(self, schedule: Schedule) -> None:
        """A step begins: tell the schedule how long the one before took."""
        now = time.perf_counter()
        if self._began is not None:
            seconds = now - self._began
            if not self._measured:
                self._seconds.append(seconds)
            schedule.timed(seconds, self._measured)
        self._began, self._measured = now, False

    def note_measured(self) -> None:
        """The step that began is measured: its time is not that of a plain one."""
        self._measured = True

    def block_ended(self, batch_size: int) -> None:
        """The step's `observe` block has ended without a measurement."""
        if self._began is not None:
            self._blocks.append((batch_size, time.perf_counter() - self._began))

    def beyond(self, batch_size: int) -> float:
        """Seconds of the block that began beyond the median of recent unmeasured ones of its batch size.

        What a measurement's own clock does not see is in it: forward and backward are slower while they are
        watched. 0 where there is too little to compare with.
        """
        plain = [seconds for size, seconds in self._blocks if size == batch_size]
        if self._began is None or len(plain) < COMPARED:
            return 0.0
        return max(time.perf_counter() - self._began - median(plain), 0.0)

    @property
    def step_seconds(self) -> float | None:
        """Of an unmeasured step, the median of the recent ones; None before there was one."""
        return median(self._seconds) if self._seconds else None
