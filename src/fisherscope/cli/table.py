"""Run `fisherscope table DIR`: print Table 1 for any set of runs."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Format(str, Enum):
    """List the formats of a printed table."""

    text = "text"
    markdown = "markdown"
    latex = "latex"
    csv = "csv"


class Test(str, Enum):
    """List the tests behind intervals and corrected p-values."""

    welch = "welch"
    student = "student"


def table(
    directories: Annotated[
        list[Path] | None,
        typer.Argument(help="Directories or exported files of runs; several are joined.", metavar="DIR…"),
    ] = None,
    means: Annotated[
        Path | None,
        typer.Option(help="CSV file with task, kind, setting, mean, std, n, hours, instead of runs."),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="Format of the table.")] = Format.text,
    test: Annotated[Test, typer.Option(help="Two-sample test.")] = Test.welch,
    lr: Annotated[
        float | None, typer.Option(help="Initial learning rate of the runs to include; by default all.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="Metric that picks the best; by default the validation metric.")
    ] = None,
    paper: Annotated[bool, typer.Option(help="Pick the best by the test metric, as the paper does.")] = False,
) -> None:
    """Print the best fixed batch size against the best schedules, with p-values."""
    from fisherscope import analysis

    if bool(directories) == (means is not None):
        raise ValueError("printing a table: give either directories of runs or --means FILE, one of the two")
    if means is not None:
        result = analysis.table_of_means(means, test=test.value)
    else:
        result = analysis.table(
            analysis.together(directories or []), lr=lr, metric=metric, test=test.value, paper=paper
        )
    print(result.render(form.value))
