"""Run `fisherscope export DIR FILE.zip`: write runs to one small file."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    directory: Annotated[Path, typer.Argument(help="Directory of runs.", metavar="DIR")],
    out: Annotated[Path, typer.Argument(help="File to write.", metavar="FILE.zip")],
    measure: Annotated[
        list[str] | None,
        typer.Option(help="Further measure to export, such as cond_geomean@relative:1e-4; repeatable."),
    ] = None,
) -> None:
    """Write configurations, epochs and measures of runs to a file that serves as DIR."""
    from fisherscope.analysis import export_runs
    from fisherscope.analysis.data.export import MEASURES

    print(export_runs(directory, out, measures=(*MEASURES, *(measure or ()))))
