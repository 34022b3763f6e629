"""Run `fisherscope report DIR`: write one HTML page about runs."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    directory: Annotated[Path, typer.Argument(help="Directory of runs.", metavar="DIR")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")] = Path("report.html"),
    x: Annotated[str | None, typer.Option(help="Measure of the horizontal axis of the landscape.")] = None,
    y: Annotated[str | None, typer.Option(help="Measure of its vertical axis.")] = None,
    metric: Annotated[str | None, typer.Option(help="Metric; by default the validation metric.")] = None,
    task: Annotated[str | None, typer.Option(help="Task, if the runs are of several.")] = None,
) -> None:
    """Write a self-contained HTML page: recommendation, landscape, curves, claims."""
    from fisherscope.report import write_report

    options = {"x": x, "y": y, "metric": metric, "task": task}
    path = write_report(directory, out, **{key: value for key, value in options.items() if value is not None})
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB; open it in a browser")
