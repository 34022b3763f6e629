"""Run `fisherscope figure NUMBER DIR -o FILE`: draw a figure of the paper."""

import difflib
import math
from pathlib import Path
from typing import Annotated, Any

import typer


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
    }  # fmt: skip
    values = {key: value for key, value in options.items() if value is not None}
    path = save(_draw(number, directory, values | {"notes": notes}), out or Path(f"figure-{number}.png"))
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def _draw(number: str, directory: Path, options: dict[str, Any]) -> Any:
    """Draw a figure.

    Raises:
        ValueError: It does not take one of the options.
    """
    import inspect

    from fisherscope.figures import FIGURES, figure_3

    draw = FIGURES[number]
    parameters = inspect.signature(draw).parameters.keys() | (inspect.signature(figure_3).parameters.keys()
                                                         if number == "7" else set())  # fmt: skip
    unknown = [name for name in options if name not in parameters]
    if unknown:
        names = ", ".join(f"--{name}" for name in _option_names(parameters))
        raise ValueError(f"drawing figure {number}: it takes no --{unknown[0]}; it takes {names}")
    return draw(directory, **options)


def _option_names(names: "set[str]") -> list[str]:
    """List the parameters of a figure that are options of the command."""
    return [n for n in ("x", "y", "metric", "lr", "settings", "epochs", "task", "notes") if n in names]
