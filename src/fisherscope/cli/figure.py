"""`fisherscope figure NUMBER DIR -o FILE`: a figure of the paper from one's own runs."""

import difflib
import math
from pathlib import Path
from typing import Annotated, Any

import typer


def figure(
    number: Annotated[str, typer.Argument(help="1a, 1b, 1c, 1d, 2, 3, 4, 5, 6 or 7.", metavar="NUMBER")],
    directory: Annotated[Path, typer.Argument(help="Directory of runs.", metavar="DIR")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A .png, .pdf or .svg file.")] = None,
    x: Annotated[str | None, typer.Option(help="Measure across the plane, such as cond_geomean.")] = None,
    y: Annotated[str | None, typer.Option(help="Measure upwards.")] = None,
    metric: Annotated[str | None, typer.Option(help="Metric; by default the validation metric.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate, where a figure is of one.")] = None,
    settings: Annotated[str | None, typer.Option(help="Such as s32-lr0.1,s64-lr0.1.")] = None,
    epochs: Annotated[int | None, typer.Option(help="How many of the first epochs, for 1c.")] = None,
    task: Annotated[str | None, typer.Option(help="Which task, where there are several.")] = None,
    notes: Annotated[bool, typer.Option(help="Small print below: what was left out, and why.")] = True,
) -> None:
    """Draw a figure of Liao et al. 2020 from your runs."""
    from fisherscope.figures import FIGURES, save

    if number not in FIGURES:
        near = difflib.get_close_matches(number, FIGURES, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(FIGURES)}"
        raise ValueError(f"drawing figure {number!r}: there is none; {hint}")
    if lr is not None and not 0 < lr < math.inf:
        raise ValueError(f"drawing figure {number}: --lr {lr}; expected a learning rate of the runs, above 0")
    told: dict[str, Any] = {
        "x": x, "y": y, "metric": metric, "lr": lr, "epochs": epochs, "task": task,
        "settings": tuple(settings.split(",")) if settings else None,
    }  # fmt: skip
    given = {key: value for key, value in told.items() if value is not None}
    path = save(_drawn(number, directory, given | {"notes": notes}), out or Path(f"figure-{number}.png"))
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def _drawn(number: str, directory: Path, options: dict[str, Any]) -> Any:
    """The figure, with options that it does not take refused by name."""
    import inspect

    from fisherscope.figures import FIGURES, figure_3

    draw = FIGURES[number]
    takes = inspect.signature(draw).parameters.keys() | (inspect.signature(figure_3).parameters.keys()
                                                         if number == "7" else set())  # fmt: skip
    strange = [name for name in options if name not in takes]
    if strange:
        options_taken = ", ".join(f"--{name}" for name in told_names(takes))
        raise ValueError(f"drawing figure {number}: it takes no --{strange[0]}; it takes {options_taken}")
    return draw(directory, **options)


def told_names(names: "set[str]") -> list[str]:
    """Of a figure's parameters those that the command line can give."""
    return [n for n in ("x", "y", "metric", "lr", "settings", "epochs", "task", "notes") if n in names]
