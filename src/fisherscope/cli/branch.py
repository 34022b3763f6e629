"""Run `fisherscope branch RUN_OR_TASK`: the critical batch size, by branches from a checkpoint."""

import json
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fisherscope.branching import BranchListener, BranchPlan
    from fisherscope.training import Configuration


def branch(
    run_or_task: Annotated[
        str,
        typer.Argument(help="Directory of a run; or a task such as text/gpt-mini, which is trained first."),
    ],
    sizes: Annotated[
        str, typer.Option(help="Batch sizes in samples, or multiples of the run's, at least 3.")
    ] = "0.5x,1x,2x,4x",
    samples: Annotated[
        int | None,
        typer.Option(help="Length of the longest branches; by default 100 steps of the largest size."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Their length in steps of the run's own batch size, instead.")
    ] = None,
    rescale: Annotated[
        str | None,
        typer.Option(help="Rate over batch size: none, linear, sqrt; the first answers, more are compared."),
    ] = None,
    base_rates: Annotated[
        str, typer.Option(help="Rates at the run's own size, or multiples of the checkpoint's, likewise.")
    ] = "1x",
    betas: Annotated[
        str | None, typer.Option(help="Betas: per-step, beta2-in-samples (default) or in-samples.")
    ] = None,
    orders: Annotated[int, typer.Option(help="Orders of the data, for the interval.")] = 3,
    seed: Annotated[int, typer.Option(help="Seed of the first order.")] = 0,
    tolerance: Annotated[float, typer.Option(help="Loss that a size may lose at equal samples.")] = 0.01,
    train_share: Annotated[
        str, typer.Option(help="Share of its epochs that a task is trained first.")
    ] = "50%",
    batch_size: Annotated[int | None, typer.Option(help="Batch size of that training.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", help="Further setting of it, key=value; repeatable.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="The run's task, if it is your own code (module:function).")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes; by default as many as cores.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Directory of the data files.")] = None,
    out: Annotated[Path, typer.Option(help="Directory of what is trained.")] = Path("runs/branch"),
    plot: Annotated[Path | None, typer.Option(help="File for the picture, such as branches.png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; progress goes to stderr.")] = False,
) -> None:
    """Measure the critical batch size by short trainings from a checkpoint at several batch sizes.

    Resumable: rerun the command to continue; the result is identical. Exit code 1 where the critical batch
    size is not defined.
    """
    from fisherscope.branching import branch as measure
    from fisherscope.cli import FAILED, exit_interrupted
    from fisherscope.cli.choose import parse_share
    from fisherscope.cli.train import parse_pairs
    from fisherscope.figures.style import check_suffix, save
    from fisherscope.training.interruption import ignore_repeats

    to = sys.stderr if as_json else sys.stdout
    if plot is not None:
        check_suffix(plot)
    settings = parse_pairs(option or []) | ({} if batch_size is None else {"batch_size": batch_size})
    ignore_repeats()
    result = measure(
        run_or_task,
        sizes=sizes.split(","),
        samples=samples,
        steps=steps,
        rescale=rescale.split(",") if rescale else (),
        base_rates=base_rates.split(","),
        betas=betas,
        orders=orders,
        seed=seed,
        tolerance=tolerance,
        train_share=parse_share(train_share),
        settings=settings,
        task=task,
        jobs=jobs,
        data_dir=data_dir,
        out=out,
        listener=_printer(to),
    )
    if as_json:
        print(json.dumps(result.answer(), ensure_ascii=False, indent=1))
    else:
        print(result)
    if not result.complete:
        if result.signal is not None:
            exit_interrupted(result.signal)
        raise SystemExit(FAILED)
    if plot is not None:
        from fisherscope.figures.branches import branches_figure

        print(save(branches_figure(result.answer()), plot), file=to)
    if result.critical != result.critical:
        raise SystemExit(FAILED)


def _printer(to: TextIO) -> "BranchListener":
    """Make a listener that prints the plan, and displays the runs."""
    from fisherscope.branching import BranchListener
    from fisherscope.cli.sweep_progress import Event, sweep_display

    class BranchPrinter(BranchListener):
        """Print to `to`."""

        def on_plan(self, plan: "BranchPlan") -> None:
            lengths, sizes = (", ".join(map(str, values)) for values in (plan.lengths, plan.sizes))
            print(
                f"{len(plan.branches())} branches of {lengths} samples from {plan.point.run}, step "
                f"{plan.point.step}: batch sizes {sizes}, {plan.orders} orders of the data.",
                file=to,
                flush=True,
            )

        def training(
            self, configurations: "Sequence[Configuration]", until: int | None
        ) -> AbstractContextManager[Event]:
            return sweep_display(configurations, until, to)

    return BranchPrinter()
