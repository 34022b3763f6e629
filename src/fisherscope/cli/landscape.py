"""Run `fisherscope landscape DIR`: where settings lie in the plane, as text or CSV."""

from pathlib import Path
from typing import Annotated, Any

import typer


def landscape(
    directories: Annotated[
        list[Path],
        typer.Argument(help="Directories or exported files of runs; several are joined.", metavar="DIR…"),
    ],
    x: Annotated[str | None, typer.Option(help="Measure across, such as cond_mean_epochs.")] = None,
    y: Annotated[str | None, typer.Option(help="Measure upwards.")] = None,
    epoch: Annotated[int | None, typer.Option(help="Epoch of the measures; by default the last.")] = None,
    metric: Annotated[str | None, typer.Option(help="Metric; by default the validation metric.")] = None,
    task: Annotated[str | None, typer.Option(help="Task, if the runs are of several.")] = None,
    paper: Annotated[
        bool, typer.Option(help="Measures and metric by the formulas of the paper's authors.")
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print a row per setting: errors, measures, distance to the best.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File for the CSV.")] = None,
) -> None:
    """Show where settings lie in the plane of C̄ and L: the best five, the region, every value."""
    from fisherscope import analysis

    values = {"x": x, "y": y, "epoch": epoch, "metric": metric, "task": task}
    options: dict[str, Any] = {key: value for key, value in values.items() if value is not None}
    if paper:
        options = {"x": "cond_mean_paper", "y": "energy_sum_paper", "metric": "test/error"} | options
    source = analysis.together(directories)
    result = analysis.landscape(source, **options)
    if out is None and not as_csv:
        print(result)
        return
    text = analysis.landscape_table(source, result).write_csv()
    if out is None:
        print(text, end="")
        return
    from fisherscope.runs import replace_text

    replace_text(out, text)
    print(f"{out}: {len(result.points)} settings")
