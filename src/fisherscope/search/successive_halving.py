"""Search batch size and learning rate by successive halving: `choose`."""

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
from fisherscope.sweep.worker import ENDED
from fisherscope.tasks import Task
from fisherscope.training import Configuration, task_of
from fisherscope.training.optimizer import make_optimizer

SGD_RATES = (0.0125, 0.05, 0.2, 0.8)
BATCH_SIZES = (8, 16, 32, 64, 128)
FAILED = ("failed", "refused")
"""Statuses of a run that is not trained further."""
Event = Callable[[str, str, Any], None]


class SearchListener:
    """Receive the progress of a search; override the methods you need.

    Example:
        ```python
        from fisherscope.search import SearchListener

        class Printer(SearchListener):
            def on_plan(self, plan):
                print(plan)

            def on_comparison(self, result, comparison):
                print(f"epoch {comparison.epoch}: {result.recommended}")

            def on_lost(self, run_id, reason):
                print(run_id, reason)

        with Printer().training([], until=1) as event:  # no calls for single epochs
            assert event is None
        ```

    Attributes:
        signal: Number of the signal that stopped the search, such as 15 for SIGTERM; None if none did.
    """

    signal: int | None = None

    def on_plan(self, plan: HalvingPlan) -> None:
        """Receive the rungs, before anything trains.

        Args:
            plan: Settings and epochs of each rung.
        """

    def on_comparison(self, result: HalvingResult, comparison: Round) -> None:
        """Receive a comparison, once all settings of a rung are trained.

        Args:
            result: The result so far.
            comparison: The settings that were compared, and those that stay.
        """

    def on_lost(self, run_id: str, reason: str) -> None:
        """Receive a run that failed and is dropped.

        Args:
            run_id: Name of the run.
            reason: Why it failed.
        """

    def training(
        self, configurations: Sequence[Configuration], until: int
    ) -> AbstractContextManager[Event | None]:
        """Make the context in which runs train up to an epoch.

        Args:
            configurations: The runs.
            until: The epoch.

        Returns:
            A context manager whose value `run_sweep` calls with each event; None for no calls.
        """
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
    et al. 2013; Jamieson & Talwalkar 2016). Resumable: if it is stopped, call it again to continue; the
    result is identical. In a script, call it under `if __name__ == "__main__":`, since it starts processes.

    Args:
        task: A built-in task such as "digits/resnet8", or "module:function".
        budget: Share of the whole grid's epochs that may be trained, in (0, 1].
        batch_sizes: Batch sizes of the grid, samples.
        lrs: Learning rates of the grid; 0.0125, 0.05, 0.2 and 0.8 for SGD, required for any other optimizer.
        optimizer: Class name in `torch.optim`.
        epochs: Length of the schedule.
        seed: Random seed of every run.
        per_epoch: Measurements per epoch, shown only: settings are ranked by the validation metric.
        limit_train: Train on this number of samples.
        jobs: Processes; by default as many as cores.
        data_dir: Directory of the data files, as for `fs.tasks.get`.
        out: Directory of the runs.
        listener: Receives plan, comparisons and failures.

    Returns:
        The comparisons made, the recommended setting with its interval and rivals, and the cost; if
        `state.todo` is not empty, the search was interrupted: call again to continue.

    Raises:
        ValueError: The budget is not in (0, 1], or learning rates are missing for this optimizer.
        ConfigurationError, TaskError, DataError: The grid or the task is wrong, or data are missing.
        RunLockedError: Another process trains one of the runs.

    Cost: at most `budget` × settings × `epochs` epochs of training, in `jobs` processes.

    Example:
        ```python
        result = fs.choose("digits/mlp", budget=0.8, batch_sizes=(32, 64), lrs=(0.1,), epochs=3, jobs=1)
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
    resolved = task_of(configurations[0], data_dir)
    make_optimizer(configurations[0], resolved.model())  # rejects an unknown optimizer before training
    if lrs is None and optimizer.lower() != "sgd":
        rates = ",".join(f"{rate:.6g}" for rate in SGD_RATES)
        raise ValueError(
            f"choosing with {optimizer}: --lrs is not given, and the default {rates} is for SGD; give "
            "learning rates around the one you train with, such as --lrs 0.0003,0.001,0.003"
        )
    listener.on_plan(plan)
    return _halve(resolved, configurations, plan, Path(out), jobs, data_dir, listener)


def _halve(
    task: Task,
    configurations: Sequence[Configuration],
    plan: HalvingPlan,
    out: Path,
    jobs: int | None,
    data_dir: str | os.PathLike[str] | None,
    listener: SearchListener,
) -> HalvingResult:
    """Train rung by rung until a setting is chosen or a signal stops; runs on disk decide."""
    candidates = [Candidate(c.path_in(out).name, c.batch_size, c.lr) for c in configurations]
    failures, reported = dict[str, str](), 0

    def evaluate() -> HalvingResult:
        return halving_from_runs(
            load_runs(out) if out.exists() else None, candidates, plan, metric=f"val/{task.metric}",
            smaller=task.direction == "min", failed=failures, samples=len(task.validation),
        )  # fmt: skip

    before = None
    while (result := evaluate()).state.todo:
        if before == (result.state.todo, result.spent_epochs):
            raise ValueError(
                f"choosing by {result.metric}: the runs do not log it, so settings cannot be compared; let "
                "the task's scores return this metric"
            )
        before = result.state.todo, result.spent_epochs
        reported = _report(listener, result, reported)
        todo = [configurations[k] for k in result.state.todo]
        until = result.state.until
        with listener.training(todo, until) as event:
            swept = run_sweep(todo, out, jobs=jobs, until=until, data_dir=data_dir, event=event)
        failures |= _failures(swept, listener)
        if swept.interrupted:
            listener.signal = swept.signal
            return evaluate()
    _report(listener, result, reported)
    return result


def _report(listener: SearchListener, result: HalvingResult, reported: int) -> int:
    """Report the comparisons that have not been reported; return how many there are now."""
    for comparison in result.state.rounds[reported:]:
        listener.on_comparison(result, comparison)
    return len(result.state.rounds)


def _failures(swept: SweepResult, listener: SearchListener) -> dict[str, str]:
    """Return why runs are dropped, by run id.

    Raises:
        RunLockedError: Another process trains one of them.
    """
    for reason in swept.elsewhere.values():
        if reason != ENDED:
            raise RunLockedError(f"choosing: {reason}; run the same command again when it has finished")
    reasons = {name: reason for name, (status, reason) in swept.ends.items() if status in FAILED}
    for name, reason in reasons.items():
        listener.on_lost(name, reason)
    return reasons
