"""`fisherscope report DIR`: one HTML page of runs."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    directory: Annotated[Path, typer.Argument(help="Directory of runs.", metavar="DIR")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page.")] = Path("report.html"),
) -> None:
    """Write one self-contained HTML page: recommendation, interactive landscape, curves, claims."""
    from fisherscope.report import write_report

    path = write_report(directory, out)
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB; open it in a browser")
