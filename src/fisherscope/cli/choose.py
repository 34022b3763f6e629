"""`fisherscope choose TASK --budget 20%`: successive halving on the early validation metric."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fisherscope.analysis.selection.halving_result import HalvingResult
    from fisherscope.analysis.selection.successive_halving import HalvingPlan
    from fisherscope.sweep import SweepResult
    from fisherscope.tasks import Task
    from fisherscope.training import Configuration


SGD_RATES = "0.0125,0.05,0.2,0.8"


def choose(
    task: Annotated[str, typer.Argument(help="digits/resnet8, … or module:function.")],
    budget: Annotated[str, typer.Option(help="Share of the grid's epochs, such as 20%.")] = "20%",
    batch_sizes: Annotated[str, typer.Option(help="Such as 8,16,32.")] = "8,16,32,64,128",
    lrs: Annotated[
        str | None, typer.Option(help=f"Such as 0.05,0.1,0.2; by default {SGD_RATES} for SGD.")
    ] = None,
    optimizer: Annotated[
        str, typer.Option(help="Of torch.optim, as you train with; give lrs for it.")
    ] = "SGD",
    epochs: Annotated[int, typer.Option(help="Length of the schedule.")] = 40,
    seed: Annotated[int, typer.Option(help="Of every run.")] = 0,
    per_epoch: Annotated[int, typer.Option(help="Measurements an epoch; they are shown, no more.")] = 4,
    limit_train: Annotated[int | None, typer.Option(help="Train on so many samples.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes; by default as many as cores.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the data files lie.")] = None,
    out: Annotated[Path, typer.Option(help="Directory of the runs; resumable.")] = Path("runs/choose"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; progress goes to stderr.")] = False,
) -> None:
    """Choose a batch size and rate within a budget: all settings for a while, the best on and on.

    Stopped at any time and started again it goes on, and ends the same.
    """
    from fisherscope.analysis.selection.successive_halving import ladder
    from fisherscope.cli import choose_text
    from fisherscope.cli.sweep import numbers
    from fisherscope.sweep import Grid
    from fisherscope.training.loop import task_of
    from fisherscope.training.optimizer import optimizer as made_of

    sizes, rates = numbers(batch_sizes, int) or [], numbers(SGD_RATES if lrs is None else lrs, float) or []
    settings = {
        "optimizer": optimizer, "epochs": epochs, "per_epoch": per_epoch, "limit_train": limit_train
    }  # fmt: skip
    grid = Grid(task, tuple(sizes), tuple(rates), (seed,), settings=settings)
    configurations = sorted(grid.configurations(), key=lambda c: (c.batch_size, c.lr))
    whole = len(configurations) * epochs
    plan = ladder(len(configurations), epochs, share(budget) * whole)
    trained = task_of(configurations[0], data_dir)
    made_of(configurations[0], trained.model())  # refuses an optimizer that is none before anything trains
    if lrs is None and optimizer.lower() != "sgd":
        raise ValueError(
            f"choosing with {optimizer}: --lrs is not given, and the default {SGD_RATES} are for SGD; "
            "give rates around the one you train with, such as --lrs 0.0003,0.001,0.003"
        )
    told = sys.stderr if as_json else sys.stdout
    print(choose_text.planned(task, budget, plan), file=told, flush=True)
    made = _halved(trained, configurations, plan, out, jobs, data_dir, told)
    if made.standing.todo:
        print(f"Stopped after {made.spent} epochs; the same command goes on.", file=told)
        raise SystemExit(1)
    print(json.dumps(made.answer(), ensure_ascii=False, indent=1) if as_json else choose_text.told(made))
    common: dict[str, object] = {
        "optimizer": None if optimizer == "SGD" else optimizer,
        "epochs": epochs, "per-epoch": per_epoch, "limit-train": limit_train, "data-dir": data_dir, "out": out
    }  # fmt: skip
    print(choose_text.following(made, task, budget, seed, common), file=told)


def _halved(
    task: "Task", configurations: "Sequence[Configuration]", plan: "HalvingPlan", out: Path, jobs: int | None,
    data_dir: Path | None, told: TextIO,
) -> "HalvingResult":  # fmt: skip
    """Train what halving asks for, until it has chosen or a signal came; what is on disk alone decides.

    Raises:
        RunLockedError: Another process trains one of the runs.
    """
    from fisherscope.analysis.selection.halving_result import Candidate, choice
    from fisherscope.cli.sweep_progress import shown
    from fisherscope.runs.reader import load_runs
    from fisherscope.sweep import run_sweep

    candidates = [Candidate(c.id, c.batch_size, c.lr) for c in configurations]
    failed, compared = dict[str, str](), 0

    def look() -> "HalvingResult":
        return choice(
            load_runs(out) if out.exists() else None, candidates, plan, metric=f"val/{task.metric}",
            smaller=task.direction == "min", failed=failed, samples=len(task.validation),
        )  # fmt: skip

    before = None
    while (made := look()).standing.todo:
        if before == (made.standing.todo, made.spent):
            raise ValueError(
                f"choosing by {made.metric}: training went on without it; the task's runs do not log it"
            )
        before = made.standing.todo, made.spent
        compared = _shown(made, compared, told)
        todo = [configurations[k] for k in made.standing.todo]
        with shown(todo, made.standing.until, told) as event:
            result = run_sweep(
                todo, out, jobs=jobs, until=made.standing.until, data_dir=data_dir, event=event
            )
        failed |= _lost(result, todo)
        if result.interrupted:
            return look()
    _shown(made, compared, told)
    return made


def _shown(made: "HalvingResult", before: int, told: TextIO) -> int:
    """Print the comparisons that have not been; how many there are now."""
    from fisherscope.cli import choose_text

    for one in made.standing.rounds[before:]:
        print(choose_text.compared(made, one), file=told, flush=True)
    return len(made.standing.rounds)


def _lost(result: "SweepResult", todo: "Sequence[Configuration]") -> dict[str, str]:
    """Why runs will not go on, by run id.

    Raises:
        RunLockedError: Another process trains one of them.
    """
    from fisherscope.runs.errors import RunLockedError

    lost = {name: reason for name, (status, reason) in result.ends.items() if status in LOST}
    for name, reason in lost.items():
        if RunLockedError.__name__ in reason:
            raise RunLockedError(f"choosing: {reason}; the same command goes on then")
        print(f"{name}: {reason}", file=sys.stderr)
    return lost


LOST = ("failed", "refused")


def share(text: str) -> float:
    """A share from `20%` or `0.2`.

    Raises:
        ValueError: It is no number in (0, 1].
    """
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise ValueError(f"reading the budget {text!r}: expected a share such as 20% or 0.2")
    return value
