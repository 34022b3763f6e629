"""How long steps take, from the beginning of one to that of the next."""

import time
from collections import deque
from statistics import median

from fisherscope.monitor.schedule import Schedule

RECENT_STEPS = 64
"""Unmeasured steps whose times give `time/step_s`."""


class Clock:
    """Times the steps of one process; a resumed run has a new one."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._measured = False
        self._seconds: deque[float] = deque(maxlen=RECENT_STEPS)

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

    @property
    def step_seconds(self) -> float | None:
        """Of an unmeasured step, the median of the recent ones; None before there was one."""
        return median(self._seconds) if self._seconds else None
