"""`fisherscope choose TASK --budget 20%`: screen, finish beacons, recommend."""

from pathlib import Path
from typing import Annotated

import typer


def choose(
    task: Annotated[str, typer.Argument(help="digits/resnet8, … or module:function.")],
    budget: Annotated[str, typer.Option(help="Share of the grid's epochs, such as 20%.")] = "20%",
    batch_sizes: Annotated[str, typer.Option(help="Such as 8,16,32.")] = "8,16,32,64,128",
    lrs: Annotated[str, typer.Option(help="Such as 0.05,0.1,0.2.")] = "0.0125,0.05,0.2,0.8",
    epochs: Annotated[int, typer.Option(help="Length of the schedule.")] = 40,
    screen: Annotated[
        int | None, typer.Option(help="Epochs of the screening; by default a twentieth.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of every run.")] = 0,
    per_epoch: Annotated[int, typer.Option(help="Measurements an epoch.")] = 4,
    limit_train: Annotated[int | None, typer.Option(help="Train on so many samples.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes of the screening.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the data files lie.")] = None,
    out: Annotated[Path, typer.Option(help="Directory of the runs; resumable.")] = Path("runs/choose"),
) -> None:
    """Screen a task's settings within a budget and recommend one; stopped and started again it goes on."""
    from fisherscope import analysis
    from fisherscope.cli.select import finish
    from fisherscope.cli.sweep import _numbers
    from fisherscope.sweep import Grid, run_sweep

    sizes, rates = _numbers(batch_sizes, int) or [], _numbers(lrs, float) or []
    early, count = screen or max(1, round(epochs / 20)), len(sizes) * len(rates)
    allowed, least = share(budget) * count * epochs, count * early + 3 * (epochs - early)
    if allowed < least:
        raise ValueError(
            f"choosing within {budget} of {count * epochs} epochs: screening {count} settings for {early} "
            f"and finishing 3 of them takes {least}, the budget has {allowed:.0f}; raise it, or give fewer "
            "settings or a shorter --screen"
        )
    settings = {"epochs": epochs, "per_epoch": per_epoch, "limit_train": limit_train}
    grid = Grid(task, tuple(sizes), tuple(rates), (seed,), settings=settings)
    print(f"Screening {count} settings for {early} of {epochs} epochs …", flush=True)
    run_sweep(grid, out, jobs=jobs, until=early, data_dir=data_dir)
    found = analysis.select(out)
    while found.next_run is not None and found.spent_epochs + epochs - early <= allowed:
        print(f"Finishing {found.next_setting} …", flush=True)
        finish(found.next_run, [out], data_dir)
        found = analysis.select(out)
    print(found)


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
