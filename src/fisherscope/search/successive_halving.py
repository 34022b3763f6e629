"""`choose`: search batch size and learning rate by successive halving within a budget of epochs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from fisherscope.analysis.selection.halving_from_runs import halving_from_runs
from fisherscope.analysis.selection.halving_result import Candidate, HalvingResult
from fisherscope.analysis.selection.successive_halving import HalvingPlan, Round, halving_plan
from fisherscope.runs.errors import RunLockedError
from fisherscope.runs.reader import load_runs
from fisherscope.sweep import Grid, SweepResult, run_sweep
from fisherscope.tasks import Task
from fisherscope.training import Configuration, task_of
from fisherscope.training.optimizer import optimizer as optimizer_of

SGD_RATES = (0.0125, 0.05, 0.2, 0.8)
BATCH_SIZES = (8, 16, 32, 64, 128)
LOST = ("failed", "refused")
"""Ends of a run after which it is not trained further."""
Event = Callable[[str, str, Any], None]


class SearchListener:
    """What a search reports while it goes on; every method may be overridden, none has to be."""

    def planned(self, plan: HalvingPlan) -> None:
        """The rungs are known; nothing has been trained yet."""

    def compared(self, result: HalvingResult, comparison: Round) -> None:
        """A rung was reached: these settings were compared."""

    def lost(self, run_id: str, reason: str) -> None:
        """A run failed and takes no further part."""

    def training(
        self, configurations: Sequence[Configuration], until: int
    ) -> AbstractContextManager[Event | None]:
        """A block in which runs train up to epoch `until`; gives what `run_sweep` calls with each event."""
        return nullcontext()


def choose(
    task: str,
    *,
    budget: float = 0.2,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    lrs: Sequence[float] | None = None,
    optimizer: str = "SGD",
    epochs: int = 40,
    seed: int = 0,
    per_epoch: int = 4,
    limit_train: int | None = None,
    jobs: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] = "runs/choose",
    listener: SearchListener | None = None,
) -> HalvingResult:
    """Search batch size and learning rate by successive halving within a budget of epochs.

    All settings are trained for some epochs, the better third of them for more, until one is finished (Karnin
    et al. 2013; Jamieson & Talwalkar 2016). Resumable: stopped and called again it continues, and the result
    is identical.

    Args:
        task: A built-in task such as `digits/resnet8`, or `module:function`.
        budget: Share of the whole grid's epochs that may be trained, in (0, 1].
        batch_sizes: Batch sizes of the grid, samples.
        lrs: Learning rates of the grid; 0.0125, 0.05, 0.2 and 0.8 for SGD, required for any other optimizer.
        optimizer: Class name in `torch.optim`.
        epochs: Length of the schedule.
        seed: Random seed of every run.
        per_epoch: Measurements per epoch, shown only: settings are ranked by the validation metric.
        limit_train: Train on this number of samples.
        jobs: Processes; as many as cores by default.
        data_dir: Directory of the data files.
        out: Directory of the runs.
        listener: Called as the search goes on.

    Returns:
        The comparisons made, the recommended setting with its interval and rivals, and the cost; if
        `state.todo` is not empty, the search was interrupted: call again to continue.

    Raises:
        ValueError: The budget is not in (0, 1], or rates are missing for this optimizer.
        ConfigurationError, TaskError, DataError: The grid or the task is wrong, or data are missing.
        RunLockedError: Another process trains one of the runs.

    Cost: at most `budget` × settings × `epochs` epochs of training, in `jobs` processes.

    Example:
        ```python
        result = fs.choose("digits/mlp", budget=0.2, batch_sizes=(16, 64), lrs=(0.05, 0.2), epochs=10)
        print(result.recommended.batch_size, result.recommended.lr)
        ```
    """
    if not 0 < budget <= 1:
        raise ValueError(f"choosing with budget={budget!r}: expected a share in (0, 1], such as 0.2")
    listener = listener or SearchListener()
    settings = {"optimizer": optimizer, "epochs": epochs, "per_epoch": per_epoch, "limit_train": limit_train}
    grid = Grid(
        task, tuple(batch_sizes), tuple(SGD_RATES if lrs is None else lrs), (seed,), settings=settings
    )
    configurations = sorted(grid.configurations(), key=lambda c: (c.batch_size, c.lr))
    plan = halving_plan(len(configurations), epochs, budget * len(configurations) * epochs)
    trained = task_of(configurations[0], data_dir)
    optimizer_of(configurations[0], trained.model())  # refuses an unknown optimizer before anything trains
    if lrs is None and optimizer.lower() != "sgd":
        rates = ",".join(f"{rate:.6g}" for rate in SGD_RATES)
        raise ValueError(
            f"choosing with {optimizer}: --lrs is not given, and the default {rates} are for SGD; "
            "give rates around the one you train with, such as --lrs 0.0003,0.001,0.003"
        )
    listener.planned(plan)
    return _halve(trained, configurations, plan, Path(out), jobs, data_dir, listener)


def _halve(
    task: Task,
    configurations: Sequence[Configuration],
    plan: HalvingPlan,
    out: Path,
    jobs: int | None,
    data_dir: str | os.PathLike[str] | None,
    listener: SearchListener,
) -> HalvingResult:
    """Train what halving asks for, until it has chosen or a signal came; what is on disk alone decides."""
    candidates = [Candidate(c.id, c.batch_size, c.lr) for c in configurations]
    failed, reported = dict[str, str](), 0

    def look() -> HalvingResult:
        return halving_from_runs(
            load_runs(out) if out.exists() else None, candidates, plan, metric=f"val/{task.metric}",
            smaller=task.direction == "min", failed=failed, samples=len(task.validation),
        )  # fmt: skip

    before = None
    while (result := look()).state.todo:
        if before == (result.state.todo, result.spent):
            raise ValueError(
                f"choosing by {result.metric}: training went on without it; the task's runs do not log it"
            )
        before = result.state.todo, result.spent
        reported = _report(listener, result, reported)
        todo = [configurations[k] for k in result.state.todo]
        until = result.state.until
        with listener.training(todo, until) as event:
            swept = run_sweep(todo, out, jobs=jobs, until=until, data_dir=data_dir, event=event)
        failed |= _lost(swept, listener)
        if swept.interrupted:
            return look()
    _report(listener, result, reported)
    return result


def _report(listener: SearchListener, result: HalvingResult, reported: int) -> int:
    """Report the comparisons that have not been reported; return how many there are now."""
    for comparison in result.state.rounds[reported:]:
        listener.compared(result, comparison)
    return len(result.state.rounds)


def _lost(swept: SweepResult, listener: SearchListener) -> dict[str, str]:
    """Why runs take no further part, by run id.

    Raises:
        RunLockedError: Another process trains one of them.
    """
    lost = {name: reason for name, (status, reason) in swept.ends.items() if status in LOST}
    for name, reason in lost.items():
        if RunLockedError.__name__ in reason:
            raise RunLockedError(f"choosing: {reason}; the same command goes on then")
        listener.lost(name, reason)
    return lost
