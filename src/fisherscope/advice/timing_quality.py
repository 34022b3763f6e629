"""Signs that measured seconds are not those of a machine that had nothing else to do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from fisherscope.analysis.batch_size.advice import StepTime

WAITED = 0.25
"""Of the seconds timed, what a thread may have waited for a core."""
LONGER = 1.5
"""A smaller batch may take so many times a larger one's seconds: the least of several rounds varies."""
_TASKS = Path("/proc/self/task")


def waited_seconds() -> float:
    """Seconds that threads of this process were ready and had no core, since they began; Linux, else 0.

    Source: the second field of /proc/…/schedstat (Documentation/scheduler/sched-stats of the kernel).
    """
    return sum(map(_waited, _TASKS.glob("*/schedstat"))) / 1e9


def _waited(schedstat: Path) -> int:
    try:
        return int(schedstat.read_text().split()[1])
    except (OSError, IndexError):  # the thread has ended
        return 0


def doubts(steps: Sequence[StepTime], timed: float, waited: float) -> list[str]:
    """What to say of the seconds of several threads, by what they waited and by what can't be.

    Args:
        steps: What was measured, by size.
        timed: Seconds on the clock while it was.
        waited: Seconds that a thread waited for a core meanwhile, the mean of those that computed.
    """
    if timed and waited > WAITED * timed:
        return [
            f"the machine was busy: each thread waited {waited:.1f} s for a core while {timed:.1f} s were "
            "timed, so seconds a step and the size named may be far off. Ask again while nothing else runs, "
            "or with one thread (OMP_NUM_THREADS=1), whose own seconds are counted"
        ]
    ran = [(step.batch_size, step.seconds) for step in steps if step.fits and step.seconds]
    for (small, longer), (large, less) in pairwise(ran):
        if longer > LONGER * less:
            return [
                f"a step of {small} took longer ({longer:.3g} s) than one of {large} ({less:.3g} s): the "
                "machine was busy, or small batches meet a slower kernel; ask again before relying on it"
            ]
    return []
