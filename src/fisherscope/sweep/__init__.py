"""Grids of runs in separate processes, resumable, safe to start twice."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fisherscope.plain_text import duration
from fisherscope.sweep.grid import Grid, cost, pending
from fisherscope.sweep.pool import Event, WorkerPool
from fisherscope.sweep.step_time import StepTimes, seconds_a_step
from fisherscope.sweep.time_estimate import seconds_left
from fisherscope.training import Configuration, ConfigurationError

__all__ = [
    "Grid",
    "StepTimes",
    "SweepResult",
    "cost",
    "duration",
    "pending",
    "run_sweep",
    "seconds_a_step",
    "seconds_left",
]


@dataclass(frozen=True)
class SweepResult:
    """How a sweep's runs stand: (status, reason) by run id, and how many were done already.

    `interrupted` says whether a signal ended it before its time.
    """

    root: Path
    ends: dict[str, tuple[str, str]]
    done_before: int
    left: int
    interrupted: bool = False

    @property
    def complete(self) -> bool:
        """Whether every run has finished or diverged."""
        return not self.left


def run_sweep(
    grid: Grid | Mapping[str, Any] | Sequence[Configuration],
    root: str | os.PathLike[str],
    *,
    jobs: int | None = None,
    until: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    event: Event | None = None,
) -> SweepResult:
    """Train every run of a grid that is not done yet, `jobs` at a time, each on one thread.

    Safe to stop at any time and to start again, or twice at once: a run has one writer, and goes on where it
    stopped. A run that is refused or fails leaves the others untouched.

    Args:
        grid: `Grid`, a mapping of its axes (`batch_sizes`, `lrs`, `seeds`, `policies`) and of settings, or
            the runs themselves.
        root: Directory of the runs.
        jobs: Processes; by default as many as cores.
        until: Train so many epochs of the schedule only; the rest can follow later.
        data_dir: Where the data files lie.
        event: Told of every start, epoch and end: (kind, run id, what).

    Raises:
        ConfigurationError: The grid is empty or wrong, `jobs` is below 1, or `root` is a file.
    """
    jobs = (os.cpu_count() or 1) if jobs is None else jobs
    if jobs < 1:
        raise ConfigurationError(f"running a sweep with jobs={jobs}; expected at least 1")
    configurations = list(grid) if isinstance(grid, Sequence) else Grid.of(grid).configurations()
    root = Path(root)
    if root.exists() and not root.is_dir():
        raise ConfigurationError(f"sweeping into {root}: it is a file; expected a directory, or a new name")
    todo = pending(configurations, root)
    place = None if data_dir is None else str(data_dir)
    pool = WorkerPool(root, min(jobs, max(len(todo), 1)), until, place, event or (lambda *_: None))
    ends = pool.run(todo)
    left = len(pending(configurations, root))
    return SweepResult(root, ends, len(configurations) - len(todo), left, pool.stopped)
