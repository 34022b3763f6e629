"""Run `fisherscope figure NUMBER DIR -o FILE`: draw a figure of the paper."""

import difflib
import math
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from fisherscope.cli.sweep import parse_numbers

MEASURED_BY = ("rule", "stride", "every", "validation", "augment")
"""Settings of runs on which the numbers of a figure under --paper depend."""


class Method(str, Enum):
    """List the surfaces of a contour map."""

    nearest = "nearest"
    process = "process"
    paper = "paper"


def figure(
    number: Annotated[
        str, typer.Argument(help="Figure: 1a, 1b, 1c, 1d, 2, 3, 4, 5, 6 or 7.", metavar="NUMBER")
    ],
    directory: Annotated[Path, typer.Argument(help="Directory of runs.", metavar="DIR")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write, .png, .pdf or .svg; by default figure-NUMBER.png."),
    ] = None,
    x: Annotated[
        str | None, typer.Option(help="Measure of the horizontal axis, such as cond_geomean.")
    ] = None,
    y: Annotated[str | None, typer.Option(help="Measure of the vertical axis.")] = None,
    metric: Annotated[str | None, typer.Option(help="Metric; by default the validation metric.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate, for figures that show one.")] = None,
    settings: Annotated[
        str | None, typer.Option(help="Settings to draw, such as s32-lr0.1,s64-lr0.1.")
    ] = None,
    sizes: Annotated[str | None, typer.Option(help="Batch sizes to draw, such as 16,32, for 4.")] = None,
    method: Annotated[
        Method | None,
        typer.Option(
            help="Contours: nearest (five), process (Gaussian process) or paper (its weights); by default "
            "the one that predicts left-out settings better."
        ),
    ] = None,
    paper: Annotated[
        bool,
        typer.Option(help="Measures, metric and contours by the formulas of the paper's authors."),
    ] = False,
    epochs: Annotated[int | None, typer.Option(help="Number of first epochs to draw, for 1c.")] = None,
    task: Annotated[str | None, typer.Option(help="Task, if the runs are of several.")] = None,
    notes: Annotated[bool, typer.Option(help="Print below the figure what was left out, and why.")] = True,
) -> None:
    """Draw a figure of Liao et al. 2020 from your runs."""
    from fisherscope.figures import FIGURES, save

    if number not in FIGURES:
        near = difflib.get_close_matches(number, FIGURES, 1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(FIGURES)}"
        raise ValueError(f"drawing figure {number!r}: there is no such figure; {hint}")
    if lr is not None and not 0 < lr < math.inf:
        raise ValueError(f"drawing figure {number}: --lr {lr}; expected a learning rate of the runs, above 0")
    options: dict[str, Any] = {
        "x": x, "y": y, "metric": metric, "lr": lr, "epochs": epochs, "task": task,
        "settings": tuple(settings.split(",")) if settings else None,
        "sizes": tuple(parse_numbers(sizes, int) or ()) or None, "method": method and method.value,
    }  # fmt: skip
    values = {key: value for key, value in options.items() if value is not None}
    if paper:
        from fisherscope.figures.paper_options import paper_options

        for text in _departures(directory, number, values):
            print(f"--paper: {text}", file=sys.stderr)
        values = paper_options(number) | values
    path = save(_draw(number, directory, values | {"notes": notes}), out or Path(f"figure-{number}.png"))
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def _draw(number: str, directory: Path, options: dict[str, Any]) -> Any:
    """Draw a figure.

    Raises:
        ValueError: It does not take one of the options.
    """
    from fisherscope.figures import FIGURES
    from fisherscope.figures.paper_options import figure_parameters

    draw = FIGURES[number]
    parameters = figure_parameters(number)
    unknown = [name for name in options if name not in parameters]
    if unknown:
        names = ", ".join(f"--{name}" for name in _option_names(parameters))
        raise ValueError(f"drawing figure {number}: it takes no --{unknown[0]}; it takes {names}")
    return draw(directory, **options)


def _departures(directory: Path, number: str, given: dict[str, Any]) -> list[str]:
    """List what is not the paper's: options that were given, and settings of the runs."""
    from fisherscope.figures.paper_options import paper_options
    from fisherscope.runs.reader import load_runs
    from fisherscope.training import paper_settings

    notes = [
        f"{key} = {given[key]}, as given, wins over the paper's {value}"
        for key, value in paper_options(number).items()
        if given.get(key, value) != value
    ]
    runs = load_runs(directory).runs
    for key in [key for key in MEASURED_BY if key in runs.columns]:
        for (task,), rows in runs.group_by("task", maintain_order=True):
            expected = paper_settings(str(task)).get(key)
            others = rows.filter(rows[key].ne_missing(expected))
            if expected is not None and len(others):
                recorded = ", ".join(sorted({str(value) for value in others[key].to_list()}))
                which = f"{len(others)} of {len(rows)} runs of {task}"
                notes.append(f"{which} have {key} = {recorded}, not the paper's {expected}")
    return notes


def _option_names(names: "set[str]") -> list[str]:
    """List the parameters of a figure that are options of the command."""
    options = ("x", "y", "metric", "method", "lr", "sizes", "settings", "epochs", "task", "notes")
    return [name for name in options if name in names]
