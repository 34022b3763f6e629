"""Branch a training from a checkpoint at several batch sizes: `branch`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from pathlib import Path
from signal import SIGINT
from typing import Any, NoReturn

import numpy as np

import fisherscope as fs
from fisherscope.branching.errors import BranchError
from fisherscope.branching.plan import EVALUATIONS, LENGTHS, Arm, BranchPlan, check_options, plan_branches
from fisherscope.branching.point import freeze
from fisherscope.branching.predictions import read_predictions
from fisherscope.branching.result import BranchResult, arm_result
from fisherscope.branching.trade_off import FloatArray
from fisherscope.runs.errors import RunLockedError
from fisherscope.sweep import SweepResult, run_sweep
from fisherscope.sweep.pool import Event
from fisherscope.sweep.worker import ENDED
from fisherscope.training import Configuration

SIZES = ("0.5x", "1x", "2x", "4x")
TOLERANCE = 0.01
"""Loss that a size may lose at equal samples."""


class BranchListener:
    """Receive the progress of `branch`; override the methods you need.

    Example:
        ```python
        from fisherscope.branching import BranchListener

        class Printer(BranchListener):
            def on_plan(self, plan):
                print(plan.sizes, plan.samples)

        with Printer().training([], until=None) as event:  # no calls for single epochs
            assert event is None
        ```
    """

    def on_plan(self, plan: BranchPlan) -> None:
        """Receive what will be trained, before it is.

        Args:
            plan: Sizes, rates and lengths.
        """

    def training(
        self, configurations: Sequence[Configuration], until: int | None
    ) -> AbstractContextManager[Event | None]:
        """Make the context in which runs train.

        Args:
            configurations: The branches, or the run of a task that is trained first.
            until: The epoch up to which they train; None for all.

        Returns:
            A context manager whose value `run_sweep` calls with each event; None for no calls.
        """
        return nullcontext()


def branch(
    run_or_task: str | os.PathLike[str],
    *,
    sizes: Sequence[str | int] = SIZES,
    samples: int | None = None,
    steps: int | None = None,
    rescale: Sequence[str] = (),
    base_rates: Sequence[str | float] = ("1x",),
    betas: str | None = None,
    orders: int = 3,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    train_share: float = 0.5,
    settings: Mapping[str, Any] | None = None,
    task: str | None = None,
    jobs: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] = "runs/branch",
    listener: BranchListener | None = None,
) -> BranchResult:
    """Measure the critical batch size by branches: short trainings from a checkpoint at several batch sizes.

    Every branch begins with the weights and the optimizer's state of the checkpoint, takes the same samples
    in the same order whatever its size, and decays its rate to a hundredth at its end. Each size has branches
    of three lengths, so that the samples E and steps S after which it would end at one validation loss are
    read between them; S = S_min (1 + B_crit/B) is fitted to these. Resumable: if it is stopped, call it
    again; only what is missing is trained. In a script, call it under `if __name__ == "__main__":`, since it
    starts processes.

    Args:
        run_or_task: Directory of a run of `train` or `sweep`; or a task, which is trained first.
        sizes: Batch sizes in samples, or multiples of the run's such as "0.5x"; at least 3.
        samples: Length of the longest branches; by default 100 steps of the largest size. Others have half
            and a quarter of it.
        steps: Their length in steps of the run's own size, instead of `samples`.
        rescale: How the rate follows the size: "none", "linear", "sqrt"; the first is the answer, more show
            how it moves. By default linear for SGD, sqrt for others.
        base_rates: Learning rates at the run's own size, or multiples of the one at the checkpoint; likewise.
        betas: "per-step", "beta2-in-samples" (default where there are betas) or "in-samples".
        orders: Orders of the data; the interval is over them.
        seed: Seed of the first order; the others follow.
        tolerance: Loss that a size may lose at equal samples.
        train_share: Share of its epochs that a task is trained first, in (0, 1).
        settings: Settings of that training, as `train` takes them, such as {"batch_size": 16}.
        task: The run's task, needed if it is code of yours (module:function).
        jobs: Processes; by default as many as cores.
        data_dir: Directory of the data files, as for `fs.tasks.get`.
        out: Directory of what is trained.
        listener: Receives plan and progress.

    Returns:
        Critical batch size with its interval, how it moves, and the noise scales' predictions; if
        `unfinished` is not empty, it was interrupted.

    Raises:
        BranchError: The run diverged or was not trained by `train`, arguments contradict each other or do
            not fit, or branches failed.
        RunError: The run has no checkpoint, or a file is damaged.
        ConfigurationError, TaskError, DataError: Settings or task are wrong, or data are missing.
        RunLockedError: Another process trains one of the branches.
        KeyboardInterrupt, SystemExit: A signal came while a task was trained first.

    Cost: sizes × orders × 1.75 × samples (× rescalings × base rates) samples of training, and 14 evaluations
        of the validation split for each size and order.

    Source: McCandlish et al. 2018 (the trade-off); Merrill et al. 2025, arXiv:2505.23971 (branches).

    Example:
        ```python
        settings = {"batch_size": 16, "lr": 0.05, "epochs": 4}
        result = fs.branch("digits/mlp", sizes=(8, 16, 32), samples=1024, orders=2, settings=settings, jobs=1)
        print(result.critical, result.interval)
        ```
    """
    listener, out = listener or BranchListener(), Path(out)
    check_options(sizes, samples, steps, rescale, base_rates, betas, orders)
    if fs.runs.is_run(run_or_task) or os.path.isdir(run_or_task):
        path = Path(run_or_task)
        if settings:
            raise BranchError(
                f"branching {path}: settings are for a task that is trained first; leave them out"
            )
    else:
        path = _train_first(str(run_or_task), train_share, dict(settings or {}), out, data_dir, listener)
        task = str(run_or_task)
    root = out / "branches"
    point, config = freeze(path, root, data_dir, task)
    plan = plan_branches(
        point, config, sizes=sizes, samples=samples, steps=steps, rescale=rescale, base_rates=base_rates,
        betas=betas, orders=orders, seed=seed,
    )  # fmt: skip
    listener.on_plan(plan)
    configurations = [plan.probe(), *plan.branches()]
    with listener.training(configurations, None) as event:
        swept = run_sweep(configurations, root, jobs=jobs, data_dir=data_dir, event=event)
    unfinished = _missing_runs(swept, configurations, root)
    if unfinished:
        return BranchResult(plan, (), (), root, unfinished, swept.signal)
    arms = tuple(arm_result(plan, arm, _losses(plan, arm, root), tolerance) for arm in plan.arms)
    return BranchResult(plan, arms, read_predictions(plan.probe().path_in(root)), root)


def _train_first(
    task: str,
    share: float,
    settings: dict[str, Any],
    out: Path,
    data_dir: str | os.PathLike[str] | None,
    listener: BranchListener,
) -> Path:
    """Train a task for a share of its epochs, and return the run's directory."""
    if not 0 < share < 1:
        raise BranchError(f"branching {task}: train_share={share!r}; expected a share in (0, 1), such as 0.5")
    fs.tasks.check_name(task)
    config = Configuration.of({"threads": 1, **settings, "task": task})
    until = max(1, round(share * config.epochs))
    root = out / f"to-epoch-{until}"
    path = config.path_in(root)
    if len(fs.runs.epoch_rows(path)) < until:
        with listener.training([config], until) as event:
            swept = run_sweep([config], root, jobs=1, until=until, data_dir=data_dir, event=event)
        _raise_for_failures(swept, root)
        if swept.interrupted:
            _end(swept.signal)
    return path


def _end(signal: int | None) -> NoReturn:
    if signal in (None, int(SIGINT)):
        raise KeyboardInterrupt
    raise SystemExit(128 + int(signal or 0))


def _missing_runs(swept: SweepResult, configurations: Sequence[Configuration], root: Path) -> dict[str, str]:
    """Return why branches are missing, by run."""
    _raise_for_failures(swept, root)
    missing = [config.id for config in configurations if not fs.runs.has_ended(config.path_in(root))]
    return {name: swept.ends.get(name, ("", "not begun"))[1] or "interrupted" for name in missing}


def _raise_for_failures(swept: SweepResult, root: Path) -> None:
    """Raise an error if runs were not trained for another reason than a signal.

    Raises:
        RunLockedError: Another process trains one of them.
        BranchError: One failed or was refused.
    """
    for name, reason in swept.elsewhere.items():
        if reason != ENDED:
            raise RunLockedError(f"branching: {name}: {reason}; run the same again when it has finished")
    failures = {name: end for name, end in swept.ends.items() if end[0] in ("failed", "refused")}
    if failures:
        name, (status, reason) = next(iter(failures.items()))
        raise BranchError(
            f"branching: {len(failures)} of {len(swept.ends)} runs {status}, such as {root / name}: {reason}"
        )


def _losses(plan: BranchPlan, arm: Arm, root: Path) -> FloatArray:
    """Read the validation losses of an arm's branches.

    Returns:
        (orders, sizes, lengths, evaluations); NaN after a branch's end, and where it diverged.

    Raises:
        DamagedRunError: A row of a branch is damaged or missing.
    """
    losses = np.full((plan.orders, len(plan.sizes), len(LENGTHS), EVALUATIONS), np.nan)
    for order, (s, size), (k, length) in product(
        range(plan.orders), enumerate(plan.sizes), enumerate(LENGTHS)
    ):
        path = plan.branch(arm, size, order, length).path_in(root)
        rows = fs.runs.epoch_rows(path)
        if fs.runs.status(path) == "finished" and len(rows) != length:
            raise fs.runs.DamagedRunError(
                f"reading {path}: {len(rows)} epochs of {length}, although it finished; delete the "
                "directory, and run the same again to train it anew"
            )
        for number, row in enumerate(rows):
            value = row.get("val/loss")
            losses[order, s, k, number] = np.nan if value is None else value
    return losses
