"""Error against training time: what each policy costs and reaches, beside fixed sizes at their best rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Reached:
    """A setting's time and error, with the deviation of the error over seeds."""

    name: str
    seconds: float
    error: float
    std: float = 0.0
    fixed: bool = False


def front(points: Sequence[Reached]) -> list[Reached]:
    """Those that no other equals or beats in both, by time."""
    kept: list[Reached] = []
    for point in sorted(points, key=lambda p: (p.seconds, p.error)):
        if not kept or point.error < kept[-1].error:
            kept.append(point)
    return kept


def pareto(points: Sequence[Reached], axes: Axes, *, unit: float = 100.0) -> None:
    """Draw error (%) against modelled training time, and the front of all points.

    Args:
        points: Settings.
        axes: Where to draw.
        unit: What errors are multiplied by.
    """
    for fixed, marker, colour, label in (
        (True, "s", "tab:gray", "fixed size, each at its best rate"),
        (False, "o", "tab:blue", "policy, best of its family"),
    ):
        mine = [p for p in points if p.fixed is fixed]
        axes.errorbar(
            [p.seconds for p in mine], [unit * p.error for p in mine], yerr=[unit * p.std for p in mine],
            fmt=marker, color=colour, ecolor=colour, elinewidth=0.6, capsize=2, label=label, alpha=0.9,
        )  # fmt: skip
    best = front(points)
    times, errors = [p.seconds for p in best], [unit * p.error for p in best]
    axes.step(times, errors, where="post", color="tab:red", lw=1, zorder=0, label="Pareto front")
    ordered = sorted(points, key=lambda p: p.seconds)
    for number, point in enumerate(ordered, start=1):
        place: Any = (4, 4 if number % 2 else -10)
        axes.annotate(
            str(number),
            (point.seconds, unit * point.error),
            xytext=place,
            textcoords="offset points",
            fontsize=8,
        )
    key = "\n".join(f"{number:>2}  {point.name}" for number, point in enumerate(ordered, start=1))
    axes.text(1.02, 1.0, key, transform=axes.transAxes, va="top", fontsize=8, linespacing=1.4)
    axes.set_xscale("log")
    for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis("{x:g}")
    axes.set_xlabel("modelled training time (s)")
    axes.set_ylabel("test error (%), mean ± standard deviation over seeds")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
