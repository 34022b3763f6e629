"""Error against training time: policies beside fixed batch sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fisherscope.figures.label_placement import place_labels
from fisherscope.figures.log_axes import log_axis
from fisherscope.figures.style import CATEGORIES, INK, SOFT, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Reached:
    """A setting's training time and error, with the error's deviation over seeds."""

    name: str
    seconds: float
    error: float
    std: float = 0.0
    fixed: bool = False


def front(points: Sequence[Reached]) -> list[Reached]:
    """Return the points that no other equals or beats in both time and error, by time."""
    best: list[Reached] = []
    for point in sorted(points, key=lambda p: (p.seconds, p.error)):
        if not best or point.error < best[-1].error:
            best.append(point)
    return best


def pareto(points: Sequence[Reached], axes: Axes, *, unit: float = 100.0) -> None:
    """Draw error (%) against modelled training time, and the Pareto front.

    Args:
        points: Settings.
        axes: The panel.
        unit: Factor on the errors.
    """
    for fixed, marker, colour, label in (
        (True, "s", SOFT, "fixed size, each at its best learning rate"),
        (False, "o", CATEGORIES[0], "policy, best of its family"),
    ):
        mine = [p for p in points if p.fixed is fixed]
        axes.errorbar(
            [p.seconds for p in mine], [unit * p.error for p in mine], yerr=[unit * p.std for p in mine],
            fmt=marker, color=colour, elinewidth=0.7, capsize=2, label=label,
        )  # fmt: skip
    best = front(points)
    times, errors = [p.seconds for p in best], [unit * p.error for p in best]
    axes.step(times, errors, where="post", color=CATEGORIES[1], lw=1.2, zorder=1, label="Pareto front")
    log_axis(axes, "x", [p.seconds for p in points])
    by_time = sorted(points, key=lambda p: p.seconds)
    numbers = [f"{number}" for number in range(1, len(by_time) + 1)]
    bars = [np.array([[p.seconds, unit * (p.error + side * p.std)] for side in (-1, 1)]) for p in points]
    place_labels(
        axes, [(p.seconds, unit * p.error) for p in by_time], numbers,
        lines=[*bars, _stairs(times, errors)], reach=9.0, size=8.0, color=INK, zorder=5,
    )  # fmt: skip
    for number, point in zip(numbers, by_time, strict=True):
        look: Any = {"marker": f"${number}$", "markersize": 5 + 3 * (len(number) - 1), "linestyle": "none"}
        axes.plot([], [], color=INK, label=point.name, **look)
    axes.set_xlabel("modelled training time (s)")
    axes.set_ylabel("test error (%), one deviation over seeds")
    legend(cast("Figure", axes.figure), axes, fontsize=8.5)


def _stairs(times: list[float], errors: list[float]) -> np.ndarray[Any, Any]:
    """Return the corners of the front as it is drawn."""
    return np.column_stack([np.repeat(times, 2)[1:], np.repeat(errors, 2)[:-1]])
