"""Run `fisherscope choose TASK --budget 20%`: search by successive halving."""

import json
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fisherscope.analysis.selection.halving_result import HalvingResult
    from fisherscope.analysis.selection.successive_halving import HalvingPlan, Round
    from fisherscope.search import SearchListener
    from fisherscope.training import Configuration

SGD_RATES = "0.0125,0.05,0.2,0.8"


def choose(
    task: Annotated[str, typer.Argument(help="Built-in task such as digits/resnet8, or module:function.")],
    budget: Annotated[str, typer.Option(help="Share of the grid's epochs, such as 20%.")] = "20%",
    batch_sizes: Annotated[str, typer.Option(help="Batch sizes, such as 8,16,32.")] = "8,16,32,64,128",
    lrs: Annotated[
        str | None,
        typer.Option(help=f"Learning rates, such as 0.05,0.1,0.2; by default {SGD_RATES} for SGD."),
    ] = None,
    optimizer: Annotated[
        str, typer.Option(help="Optimizer (class name in torch.optim); set --lrs to match.")
    ] = "SGD",
    epochs: Annotated[int, typer.Option(help="Length of the schedule, epochs.")] = 40,
    seed: Annotated[int, typer.Option(help="Random seed of every run.")] = 0,
    per_epoch: Annotated[int, typer.Option(help="Measurements per epoch (display only).")] = 4,
    limit_train: Annotated[
        int | None, typer.Option(help="Number of training samples; by default all.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes; by default as many as cores.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Directory of the data files.")] = None,
    out: Annotated[Path, typer.Option(help="Directory of the runs.")] = Path("runs/choose"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; progress goes to stderr.")] = False,
) -> None:
    """Search batch size and learning rate by successive halving within an epoch budget.

    Resumable: rerun the command to continue; the result is identical.
    """
    from fisherscope.cli import FAILED, choose_text, exit_interrupted
    from fisherscope.cli.sweep import parse_numbers
    from fisherscope.search import choose as search
    from fisherscope.training.interruption import ignore_repeats

    to = sys.stderr if as_json else sys.stdout
    listener = _printer(task, budget, to)
    ignore_repeats()
    result = search(
        task,
        budget=parse_share(budget),
        batch_sizes=parse_numbers(batch_sizes, int) or [],
        lrs=None if lrs is None else parse_numbers(lrs, float),
        optimizer=optimizer,
        epochs=epochs,
        seed=seed,
        per_epoch=per_epoch,
        limit_train=limit_train,
        jobs=jobs,
        data_dir=data_dir,
        out=out,
        listener=listener,
    )
    if result.state.todo:
        print(f"Stopped after {result.spent_epochs} epochs; run the same command to resume.", file=to)
        if listener.signal is not None:
            exit_interrupted(listener.signal)
        raise SystemExit(FAILED)
    print(json.dumps(result.answer(), ensure_ascii=False, indent=1) if as_json else result)
    common: dict[str, object] = {
        "optimizer": None if optimizer == "SGD" else optimizer,
        "epochs": epochs, "per-epoch": per_epoch, "limit-train": limit_train, "data-dir": data_dir, "out": out
    }  # fmt: skip
    print(choose_text.next_commands(result, task, budget, seed, common), file=to)
    if result.recommended is None:
        raise SystemExit(1)


def _printer(task: str, budget: str, to: TextIO) -> "SearchListener":
    """Make a listener that prints plan and comparisons, and displays the sweeps between."""
    from fisherscope.cli import choose_text
    from fisherscope.cli.sweep_progress import Event, sweep_display
    from fisherscope.search import SearchListener

    class Printer(SearchListener):
        """Print to `to`, and failures to stderr."""

        def on_plan(self, plan: "HalvingPlan") -> None:
            print(choose_text.plan_text(task, budget, plan), file=to, flush=True)

        def on_comparison(self, result: "HalvingResult", comparison: "Round") -> None:
            print(choose_text.comparison_text(result, comparison), file=to, flush=True)

        def on_lost(self, run_id: str, reason: str) -> None:
            print(f"{run_id}: {reason}", file=sys.stderr)

        def training(
            self, configurations: "Sequence[Configuration]", until: int
        ) -> AbstractContextManager[Event]:
            return sweep_display(configurations, until, to)

    return Printer()


def parse_share(text: str) -> float:
    """Parse a share such as `20%` or `0.2`.

    Raises:
        ValueError: It is not a number in (0, 1].
    """
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise ValueError(f"reading the budget {text!r}: expected a share such as 20% or 0.2")
    return value
