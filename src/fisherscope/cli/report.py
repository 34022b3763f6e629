"""`fisherscope report DIR`: one HTML page of runs."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    directory: Annotated[Path, typer.Argument(help="Directory of runs.", metavar="DIR")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page.")] = Path("report.html"),
    x: Annotated[str | None, typer.Option(help="Measure across the landscape.")] = None,
    y: Annotated[str | None, typer.Option(help="Measure upwards.")] = None,
    metric: Annotated[str | None, typer.Option(help="Metric; by default the validation metric.")] = None,
    task: Annotated[str | None, typer.Option(help="Which task, where there are several.")] = None,
) -> None:
    """Write one self-contained HTML page: recommendation, interactive landscape, curves, claims."""
    from fisherscope.report import write_report

    given = {"x": x, "y": y, "metric": metric, "task": task}
    path = write_report(directory, out, **{key: value for key, value in given.items() if value is not None})
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB; open it in a browser")
