"""Figures 1c, 1d and 5: how runs travel through the plane, and dynamic runs among the fixed ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from fisherscope.analysis import AnalysisError, Settings, landscape
from fisherscope.analysis.data.labels import setting_label, shown_scale
from fisherscope.analysis.data.run_measures import COND, ENERGY
from fisherscope.analysis.data.seed_means import broken, comparable, positions
from fisherscope.analysis.data.settings import RunsLike, settings_of
from fisherscope.figures.plane import frame_plane
from fisherscope.figures.style import (
    CATEGORIES,
    INK,
    MARKERS,
    SOFT,
    legend,
    metric_map,
    note,
    ordered_colours,
    panels,
    styled,
)
from fisherscope.figures.surface import draw_surface, metric_bar, metric_levels

SHARES = (0.05, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Of the epochs: where the paper marks a travel."""
SNAPSHOTS = (1, 3, 6)
"""Epochs whose places figure 1c marks, besides the last."""
PANELS = 6
COLUMNS = 3


def figure_1c(
    runs: RunsLike, *, epochs: int = 10, x: str = COND, y: str = ENERGY, metric: str | None = None,
    task: str | None = None, notes: bool = True,
) -> Figure:  # fmt: skip
    """The first epochs of every fixed setting in the plane; the marks have the colour of the *final* metric.

    Args:
        runs: From `load_runs`, or a directory.
        epochs: How many.
        x: Measure across.
        y: Measure upwards.
        metric: Column of the epochs; by default the validation metric.
        task: Which, where there are several.
        notes: Small print below.

    Raises:
        AnalysisError: No fixed setting has a place in the plane; it says what is there.
    """
    source = settings_of(runs, task=task)
    lost = broken(source)
    fixed = comparable(source.fixed().where(~pl.col("setting").is_in(lost)))
    rows = _placed(positions(fixed, x, y), source, "a constant batch size").filter(pl.col("epoch") <= epochs)
    if not len(rows):
        raise AnalysisError(f"drawing figure 1c of {source.describe()}: nothing up to epoch {epochs}")
    name = source.metric(metric)[0]
    final = dict(landscape(source.runs, x=x, y=y, metric=name, task=source.task or None).points
                 .select("setting", "metric").iter_rows())  # fmt: skip
    with styled():
        figure, (axes,) = panels(1, 1, (7.2, 4.8))
        rates = sorted(set(rows["lr"].drop_nulls().to_list()))
        for (_,), line in rows.group_by("setting", maintain_order=True):
            axes.plot(line["x"].to_numpy(), line["y"].to_numpy(), color=SOFT, linewidth=0.9, zorder=2)
        _mark_epochs(axes, rows)
        last = rows.group_by("setting", maintain_order=True).last()
        _mark_finals(figure, axes, last, final, name, rates, source.metric(name)[1])
        frame_plane(axes, rows["x"].to_list(), rows["y"].to_list(), (x, y))
        until = int(rows["epoch"].max())  # type: ignore[arg-type]
        axes.set_title(f"Epochs 1 to {until}")
        legend(figure, axes)
        hollow = (
            ["Small and hollow: not finished."] if any(final.get(s) is None for s in last["setting"]) else []
        )
        note(figure, [f"Marks: the place at epoch {until}, the colour of the final metric.", *hollow,
                      *source.notes] if notes else ())  # fmt: skip
    return figure


def figure_1d(
    runs: RunsLike, *, x: str = COND, y: str = ENERGY, metric: str | None = None, lr: float | None = None,
    task: str | None = None, settings: tuple[str, ...] | None = None, notes: bool = True,
) -> Figure:  # fmt: skip
    """Dynamic runs among the fixed ones: contours and ends of the fixed settings, travel of the others.

    Args:
        runs: From `load_runs`, or a directory.
        x: Measure across.
        y: Measure upwards.
        metric: Column of the epochs; by default the validation metric.
        lr: Only dynamic runs of this initial rate.
        task: Which, where there are several.
        settings: Names of dynamic settings; by default the first ten.
        notes: Small print below.

    Raises:
        AnalysisError: There is no dynamic run, or none of that name; it says what is there.
    """
    source = settings_of(runs, task=task)
    moving, left = _chosen("1d", _dynamic(source, x, y, lr), settings, len(MARKERS))
    beacons = _beacons(source, x, y, None)
    name = source.metric(metric)[0]
    told = []
    with styled():
        figure, (axes,) = panels(1, 1, (7.8, 5.0))
        if len(beacons):
            found = landscape(source.runs, x=x, y=y, metric=name, task=source.task or None)
            told = draw_surface(figure, axes, found)
            ends = beacons.group_by("setting", maintain_order=True).last()
            axes.plot(ends["x"].to_numpy(), ends["y"].to_numpy(), "o", color=SOFT, markersize=4,
                      markeredgecolor="white", label="fixed size, end", linestyle="none")  # fmt: skip
        for place, ((setting,), line) in enumerate(moving.group_by("setting", maintain_order=True)):
            look = CATEGORIES[place % len(CATEGORIES)], MARKERS[place % len(MARKERS)]
            _draw_travel(axes, line, *look, setting_label(str(setting)))
        both = pl.concat([moving.select("x", "y"), beacons.group_by("setting").last().select("x", "y")])
        frame_plane(axes, both["x"].to_list(), both["y"].to_list(), (x, y))
        legend(figure, axes)
        note(figure, [*told, _shares_told(), left, *source.notes] if notes else ())
    return figure


def figure_5(
    runs: RunsLike, *, x: str = COND, y: str = ENERGY, lr: float | None = None, task: str | None = None,
    settings: tuple[str, ...] | None = None, notes: bool = True,
) -> Figure:  # fmt: skip
    """The travel of each dynamic setting, a panel each, among the dotted beacons of the same initial rate.

    Args:
        runs: From `load_runs`, or a directory.
        x: Measure across.
        y: Measure upwards.
        lr: Initial rate; by default the one with most dynamic settings.
        task: Which, where there are several.
        settings: Names of dynamic settings; by default the first six.
        notes: Small print below.

    Raises:
        AnalysisError: There is no dynamic run; it says what is there.
    """
    source = settings_of(runs, task=task)
    moving = _dynamic(source, x, y, lr)
    if lr is None:
        counts = (
            moving.group_by("lr").agg(pl.col("setting").n_unique()).sort("setting", "lr", descending=True)
        )
        lr = counts["lr"][0]
        moving = moving.filter(pl.col("lr") == lr) if lr is not None else moving
    moving, left = _chosen("5", moving, settings, PANELS)
    names = list(settings or moving["setting"].unique(maintain_order=True))
    beacons = _beacons(source, x, y, lr)
    with styled():
        columns = min(COLUMNS, len(names))
        count = -(-len(names) // columns)
        figure, all_axes = panels(count, columns, (4.0, 3.4) if columns > 1 else (6.8, 4.6))
        both = pl.concat([moving.select("x", "y"), beacons.select("x", "y")])
        for axes, name in zip(all_axes, names, strict=False):
            frame_plane(axes, both["x"].to_list(), both["y"].to_list(), (x, y))
            _draw_beacons(axes, beacons)
            line = moving.filter(pl.col("setting") == name)
            _draw_travel(axes, line, CATEGORIES[1], "o", "the schedule")
            axes.set_title(setting_label(name), fontsize=11)
        for axes in all_axes[len(names) :]:
            axes.set_visible(False)
        legend(figure, all_axes[columns - 1])
        alone = [] if len(beacons) else [f"No fixed setting of rate {lr:g}: there are no beacons."]
        note(figure, [*alone, _shares_told(), left, *source.notes] if notes else ())
    return figure


def _dynamic(source: Settings, x: str, y: str, lr: float | None) -> pl.DataFrame:
    """Places of the dynamic settings that did not diverge.

    Raises:
        AnalysisError: There is none.
    """
    moving = source.where(~pl.col("fixed"), ~pl.col("setting").is_in(broken(source)))
    if lr is not None:
        moving = moving.where((pl.col("lr") - lr).abs() <= 1e-9 * lr)
    if not len(moving.frame):
        raise AnalysisError(
            f"drawing dynamic runs of {source.describe()}: every batch size is constant"
            + ("" if lr is None else f" at rate {lr:g}")
            + ", or has diverged; train schedules such as `fisherscope sweep TASK --policies s32-to-128`"
        )
    return _placed(positions(comparable(moving), x, y), source, "a schedule")


def _chosen(
    number: str, moving: pl.DataFrame, settings: tuple[str, ...] | None, most: int
) -> tuple[pl.DataFrame, str]:
    """The dynamic settings that were named, else the first few; and which were left out.

    Raises:
        AnalysisError: There is none of that name.
    """
    there = moving["setting"].unique(maintain_order=True).to_list()
    unknown = [name for name in settings or () if name not in there]
    if unknown:
        raise AnalysisError(
            f"drawing figure {number}: there is no dynamic setting {unknown[0]!r}; there are "
            f"{', '.join(there)}"
        )
    names = list(settings or there[:most])
    left = [] if settings else there[most:]
    told = f"Left out, name them by settings: {', '.join(left)}." if left else ""
    return moving.filter(pl.col("setting").is_in(names)), told


def _beacons(source: Settings, x: str, y: str, lr: float | None) -> pl.DataFrame:
    fixed = comparable(source.fixed().where(~pl.col("setting").is_in(broken(source))))
    if lr is not None:
        fixed = fixed.where((pl.col("lr") - lr).abs() <= 1e-9 * lr)
    return positions(fixed, x, y)


def _placed(rows: pl.DataFrame, source: Settings, what: str) -> pl.DataFrame:
    if not len(rows):
        raise AnalysisError(
            f"drawing the plane of {source.describe()}: no run with {what} that did not "
            "diverge has both measures"
        )
    return rows


def _draw_travel(axes: Axes, line: pl.DataFrame, colour: str, marker: str, name: str) -> None:
    """The way, marked at the shares of its epochs; larger at the end."""
    x, y, epochs = (line[c].to_numpy() for c in ("x", "y", "epoch"))
    at = sorted({int(np.abs(epochs - share * epochs[-1]).argmin()) for share in SHARES})
    axes.plot(x, y, color="white", linewidth=3.6, zorder=3)
    axes.plot(x, y, color=colour, linewidth=1.8, zorder=4)
    axes.plot(
        x[at], y[at], marker, color=colour, markersize=6, markeredgecolor="white", linestyle="none", zorder=5
    )
    axes.plot(
        x[-1:], y[-1:], marker, color=colour, markersize=10, markeredgecolor=INK, linestyle="none", zorder=6,
        label=name,
    )  # fmt: skip


def _draw_beacons(axes: Axes, rows: pl.DataFrame) -> None:
    """Dotted ways of the fixed sizes, each with its name in the legend."""
    sizes = sorted(set(rows["batch_size"].drop_nulls().to_list()))
    for size, colour in zip(sizes, ordered_colours(len(sizes)), strict=True):
        line = rows.filter(pl.col("batch_size") == size)
        axes.plot(
            line["x"].to_numpy(), line["y"].to_numpy(), color=colour, linestyle=(0, (1, 1.4)), linewidth=1.6,
            label=f"s{size}", zorder=2,
        )  # fmt: skip
        axes.plot(line["x"][-1:], line["y"][-1:], "o", color=colour, markersize=5, zorder=2)


def _mark_epochs(axes: Axes, rows: pl.DataFrame) -> None:
    """Where settings stood at the first few epochs, lighter the earlier."""
    for place, epoch in enumerate(SNAPSHOTS):
        there = rows.filter(pl.col("epoch") == epoch)
        shade = ["#c4c9d0", "#8d95a1", "#4a5260"][place]
        axes.plot(
            there["x"].to_numpy(), there["y"].to_numpy(), "o", color=shade, markersize=3.4, linestyle="none",
            label=f"epoch {epoch}" if len(there) else None, zorder=3,
        )  # fmt: skip


def _mark_finals(
    figure: Figure, axes: Axes, last: pl.DataFrame, final: dict[str, Any], metric: str, rates: list[float],
    smaller: bool,
) -> None:  # fmt: skip
    """Marks in the shape of the rate and the colour of the final metric."""
    scale = shown_scale(metric)
    known = [scale * v for v in (final.get(s) for s in last["setting"]) if v is not None]
    several = len(set(known)) > 1
    norm, levels = metric_levels(np.array(known), smaller) if several else (None, np.array([]))
    colours = metric_map(smaller)
    for place, lr in enumerate(rates):
        for row in last.filter(pl.col("lr") == lr).iter_rows(named=True):
            value = final.get(row["setting"])
            known_value = norm is not None and value is not None
            face = colours(norm(scale * value)) if norm is not None and value is not None else "white"
            axes.plot(
                row["x"], row["y"], MARKERS[place % len(MARKERS)], color=face, zorder=4,
                markeredgecolor=INK if known_value else SOFT, markersize=8 if known_value else 5,
            )  # fmt: skip
        axes.plot([], [], MARKERS[place % len(MARKERS)], color="white", markeredgecolor=INK, markersize=7,
                  linestyle="none", label=rf"$\alpha$ = {lr:g}")  # fmt: skip
    if norm is not None:
        metric_bar(figure, axes, ScalarMappable(norm, colours), levels, metric)


def _shares_told() -> str:
    return f"Marks at {', '.join(f'{100 * share:g}' for share in SHARES)} % of the epochs."
