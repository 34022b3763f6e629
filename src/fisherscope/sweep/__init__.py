"""Train grids of runs in separate processes, resumable and safe to start twice."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fisherscope as fs
from fisherscope.plain_text import duration
from fisherscope.sweep.grid import Grid, changed_runs, cost, pending
from fisherscope.sweep.pool import Event, WorkerPool
from fisherscope.sweep.step_probe import StepProbe, probe_steps
from fisherscope.sweep.step_time import StepTimes, record_step_times, seconds_a_step
from fisherscope.sweep.sweep_plan import SweepPlan, plan_sweep
from fisherscope.sweep.time_estimate import seconds_left, sweep_seconds
from fisherscope.sweep.worker import ELSEWHERE
from fisherscope.training import Configuration, ConfigurationError

__all__ = [
    "ELSEWHERE",
    "Grid",
    "StepProbe",
    "StepTimes",
    "SweepPlan",
    "SweepResult",
    "changed_runs",
    "cost",
    "duration",
    "pending",
    "plan_sweep",
    "probe_steps",
    "record_step_times",
    "run_sweep",
    "seconds_a_step",
    "seconds_left",
    "sweep_seconds",
]


@dataclass(frozen=True)
class SweepResult:
    """Hold how the runs of a sweep stand.

    Args:
        root: Directory of the runs.
        ends: (status, reason) of the runs that this call trained, or found with another process
            ("elsewhere"), by run id.
        done_before: Runs that had finished or diverged before.
        left: Runs that have neither finished nor diverged.
        interrupted: Whether a signal stopped the sweep.
        signal: Number of that signal, such as 15 for SIGTERM.

    Example:
        See `run_sweep`.
    """

    root: Path
    ends: dict[str, tuple[str, str]]
    done_before: int
    left: int
    interrupted: bool = False
    signal: int | None = None

    @property
    def elsewhere(self) -> dict[str, str]:
        """Runs that another process trains or has trained, with what is known of it, by run id."""
        return {run_id: reason for run_id, (status, reason) in self.ends.items() if status == ELSEWHERE}

    @property
    def complete(self) -> bool:
        """Whether all runs have finished or diverged."""
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
    """Train every run of a grid that has not ended, `jobs` at a time, each on one thread.

    Safe to stop at any time and to start again, or twice at once: a run has one writer and resumes where it
    stopped. Sweeps started at once in one directory, on one machine or on several that share a disk, share
    the work: each leaves out the runs that another trains. A run that is refused or fails does not affect
    the others. In a script, call it under `if __name__ == "__main__":`, as anything that starts processes.

    Args:
        grid: A `Grid`, a mapping of its axes (`batch_sizes`, `lrs`, `seeds`, `policies`) and of settings, or
            the configurations themselves.
        root: Directory of the runs.
        jobs: Processes; by default as many as cores.
        until: Train only this number of epochs of the schedule; a later call can resume.
        data_dir: Directory of the data files, as for `fs.tasks.get`.
        event: Called at every start, epoch and end with (kind, run id, value): ("start", id, None), ("epoch",
            id, row) or ("end", id, (status, reason)).

    Returns:
        How the runs stand.

    Raises:
        ConfigurationError: The grid is empty or wrong, `jobs` is below 1, or `root` is a file.
        TaskError: There is no built-in task of this name.

    Cost: the training of the runs; one process with its own copy of the data per job.

    Example:
        ```python
        grid = {"task": "digits/mlp", "batch_sizes": [32, 64], "lrs": [0.1], "epochs": 1}
        assert fs.run_sweep(grid, "runs/swept", jobs=1).complete
        ```
    """
    jobs = (os.cpu_count() or 1) if jobs is None else jobs
    if jobs < 1:
        raise ConfigurationError(f"running a sweep with jobs={jobs}; expected at least 1")
    configurations = list(grid) if isinstance(grid, Sequence) else Grid.of(grid).configurations()
    root = Path(root)
    if root.exists() and not root.is_dir():
        raise ConfigurationError(f"sweeping into {root}: it is a file; expected a directory, or a new name")
    _set_aside(changed_runs(configurations, root), root)
    todo = pending(configurations, root)
    data = None if data_dir is None else str(data_dir)
    pool = WorkerPool(root, min(jobs, max(len(todo), 1)), until, data, event or (lambda *_: None))
    ends = pool.run(todo)
    left = len(pending(configurations, root))
    return SweepResult(root, ends, len(configurations) - len(todo), left, pool.stopped, pool.signal)


def _set_aside(changed: Sequence[Configuration], root: Path) -> None:
    """Move runs of earlier code out of the sweep, and say so in one line."""
    moved = []
    for config in changed:
        try:
            moved.append(fs.runs.set_aside(config.path_in(root)))
        except fs.runs.RunError as error:  # noqa: PERF203  (the run itself reports what is wrong)
            warnings.warn(str(error), stacklevel=3)
    if moved:
        warnings.warn(
            f"{changed[0].task} has changed since {len(moved)} runs of {root} were trained; they are kept in "
            f"{moved[0].parent}, and trained anew",
            stacklevel=3,
        )
