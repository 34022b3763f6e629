"""`fisherscope export DIR FILE.zip`: runs as one small file that every analysis reads."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    directory: Annotated[Path, typer.Argument(help="Directory of runs.", metavar="DIR")],
    out: Annotated[Path, typer.Argument(help="The file to write.", metavar="FILE.zip")],
    measure: Annotated[
        list[str] | None,
        typer.Option(help="Besides those kept by default, such as cond_geomean@relative:1e-4; repeatable."),
    ] = None,
) -> None:
    """Write configurations, epochs and measures of runs to one file; give it where a DIR is asked for."""
    from fisherscope.analysis import export_runs
    from fisherscope.analysis.data.export import MEASURES

    print(export_runs(directory, out, measures=(*MEASURES, *(measure or ()))))
