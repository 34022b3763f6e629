"""Draw settings in a plane of two measures: lines, labels, axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from fisherscope.analysis import AnalysisError, Landscape, Settings
from fisherscope.analysis.data.labels import measure_label, shown_scale
from fisherscope.figures.label_placement import place_labels
from fisherscope.figures.log_axes import TAIL, log_axis, three_digits
from fisherscope.figures.style import (
    INK,
    MARKERS,
    colour_ramp,
)

LEFT = (0.7 * np.pi, 1.45 * np.pi)
"""Directions of the batch-size labels: the smallest learning rate has nothing on that side."""


def draw_rates(axes: Axes, rows: pl.DataFrame) -> None:
    """Draw the settings, a line per learning rate, with deviations over seeds."""
    rates = sorted(set(rows["lr"].drop_nulls().to_list()))
    for place, (lr, colour) in enumerate(zip(rates, colour_ramp(len(rates)), strict=True)):
        line = rows.filter(pl.col("lr") == lr).sort("batch_size")
        x, y = line["x"].to_numpy(), line["y"].to_numpy()
        axes.errorbar(
            x, y, xerr=_bars(line, "x"), yerr=_bars(line, "y"), color=colour, markersize=6,
            marker=MARKERS[place % len(MARKERS)],
            markeredgecolor="white", markeredgewidth=0.6, elinewidth=0.7, linewidth=1.1,
            label=rf"$\alpha$ = {lr:g}", zorder=3,
        )  # fmt: skip


def name_best(axes: Axes, landscape: Landscape, rows: pl.DataFrame) -> None:
    """Draw numbered rings around the best, named in the legend, and label the batch sizes.

    Args:
        axes: The panel, its limits set.
        landscape: Its best settings are marked.
        rows: The settings drawn.
    """
    scale = shown_scale(landscape.metric)
    for rank, row in enumerate(landscape.best.iter_rows(named=True), start=1):
        value = three_digits(scale * row["metric"])
        axes.plot(
            row["x"], row["y"], "o", markersize=13, markerfacecolor="none", markeredgecolor=INK,
            markeredgewidth=1.4, zorder=4, linestyle="none",
        )  # fmt: skip
        axes.plot([], [], marker=f"${rank}$", color=INK, linestyle="none", label=f"{row['setting']}, {value}")
    lines = [part.sort("batch_size").select("x", "y").to_numpy() for _, part in rows.group_by("lr")]
    best = list(landscape.best.select("x", "y").iter_rows())
    ranks = [str(rank) for rank in range(1, len(best) + 1)]
    occupied = place_labels(axes, best, ranks, lines=lines, fontweight="bold", color=INK, zorder=6)
    _name_sizes(axes, rows, lines, occupied)


def frame_plane(axes: Axes, x: list[float], y: list[float], names: tuple[str, str]) -> None:
    """Set logarithmic axes with their measures' names."""
    log_axis(axes, "x", x)
    log_axis(axes, "y", y)
    axes.set_xlabel(measure_label(names[0]))
    axes.set_ylabel(measure_label(names[1]))


def axis_values(rows: pl.DataFrame, column: str) -> list[float]:
    """Return what an axis must show: the settings, and all but the widest eighth of bars."""
    values = rows[column].to_numpy()
    bars = _bars(rows, column)
    if bars is None:
        return list(values)
    usual = (bars.sum(axis=0) / values) <= np.quantile(bars.sum(axis=0) / values, 1 - TAIL)
    return [*values, *(values - bars[0])[usual], *(values + bars[1])[usual]]


def _bars(line: pl.DataFrame, column: str) -> np.ndarray[Any, Any] | None:
    """Return lengths below and above of one log deviation, shape (2, n); None for one seed."""
    if line[f"{column}_std"].is_null().all():
        return None
    value, std = line[column].to_numpy(), line[f"{column}_std"].fill_null(0.0).to_numpy()
    return np.stack([value - value * np.exp(-std), value * np.exp(std) - value])


def _name_sizes(
    axes: Axes, rows: pl.DataFrame, lines: list[np.ndarray[Any, Any]], occupied: list[np.ndarray[Any, Any]]
) -> None:
    """Label batch sizes beside the line of the smallest learning rate with most of them."""
    counts = rows.group_by("lr").len().sort(pl.col("len"), -pl.col("lr"), descending=True)
    line = rows.filter(pl.col("lr") == counts["lr"][0]).sort("batch_size")
    places, sizes = line.select("x", "y").rows(), line["batch_size"].to_list()
    place_labels(
        axes, places, [f"{size}" for size in sizes], lines=lines, texts_before=occupied, towards=LEFT,
        reach=14.0, size=8.5, color=INK, zorder=5,
    )  # fmt: skip


def require_positions(rows: pl.DataFrame, source: Settings, what: str) -> pl.DataFrame:
    """Return positions, which must not be empty.

    Args:
        rows: Positions.
        source: The runs.
        what: What the runs must have, in words.

    Returns:
        The rows.

    Raises:
        AnalysisError: There are none.
    """
    if not len(rows):
        raise AnalysisError(
            f"drawing the plane of {source.describe()}: no run with {what} that did not "
            "diverge has both measures"
        )
    return rows
