"""Figures 1c, 1d and 5: trajectories of runs through the plane."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fisherscope.analysis import AnalysisError, Settings, landscape
from fisherscope.analysis.data.labels import setting_label
from fisherscope.analysis.data.run_measures import COND, ENERGY
from fisherscope.analysis.data.seed_means import comparable, lost_settings, positions
from fisherscope.analysis.data.settings import RunsLike, settings_of
from fisherscope.analysis.landscapes.surface import Method
from fisherscope.figures.label_placement import place_labels
from fisherscope.figures.plane_drawing import frame_plane, require_positions
from fisherscope.figures.style import (
    CATEGORIES,
    INK,
    MARKERS,
    legend,
    note,
    panels,
    paper_style,
)
from fisherscope.figures.surface import draw_surface

SHARES = (0.05, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Shares of the epochs at which the paper marks a trajectory."""
PANELS = 6
"""Schedules that are drawn by default."""
COLUMNS = 3


def figure_1d(
    runs: RunsLike, *, x: str = COND, y: str = ENERGY, metric: str | None = None, lr: float | None = None,
    method: Method | None = None, task: str | None = None, settings: tuple[str, ...] | None = None,
    notes: bool = True,
) -> Figure:  # fmt: skip
    """Draw trajectories of schedules over the contours, among the fixed sizes of their rate.

    Args:
        runs: From `load_runs`, or a directory.
        x: Measure across.
        y: Measure upwards.
        metric: Column of the epochs; the validation metric by default.
        lr: Only schedules of this initial learning rate.
        method: Surface; by default the one that predicts left-out settings better.
        task: Task, if the runs are of several.
        settings: Names of schedules; by default the first six.
        notes: Print notes below the panels.

    Returns:
        The figure.

    Raises:
        AnalysisError: There is no schedule, or none of that name; the text says what is there.

    Example:
        ```python
        import fisherscope as fs
        from fisherscope import figures

        for policy in ("s8", "s32", "s8-to-32"):
            config = {"policy": policy, "lr": 0.1, "seed": 0, "epochs": 2}
            with fs.open_run(f"runs/figure_1d/{policy}", config) as run:
                for epoch in (1, 2):
                    run.log_epoch(
                        step=8 * epoch, val_error=0.1 / epoch, fisher_cond_mean=9.0 * epoch,
                        fisher_energy_sum=1.0 * epoch,
                    )
        figures.save(figures.figure_1d("runs/figure_1d"), "figure_1d.png")
        ```
    """
    source = settings_of(runs, task=task)
    dynamic = _dynamic(source, x, y, lr)
    moving, omitted = _select_settings("1d", dynamic, settings, PANELS)
    rates = moving["lr"].drop_nulls().mode().sort().to_list()
    beacons = _from_first_mark(_beacons(source, x, y, rates[0] if rates else None))
    name = source.metric(metric)[0]
    remarks = []
    with paper_style():
        figure, (axes,) = panels(1, 1, (8.6, 5.6))
        if len(_beacons(source, x, y, None)):
            land = landscape(source.runs, x=x, y=y, metric=name, task=source.task or None)
            remarks = draw_surface(figure, axes, land, method)
        both = pl.concat([_from_first_mark(moving).select("x", "y"), beacons.select("x", "y")])
        frame_plane(axes, both["x"].to_list(), both["y"].to_list(), (x, y))
        for place, ((setting,), line) in enumerate(moving.group_by("setting", maintain_order=True)):
            look = CATEGORIES[place % len(CATEGORIES)], MARKERS[place % len(MARKERS)]
            _draw_trajectory(
                axes, _from_first_mark(line), *look, setting_label(str(setting)), last=_last(line)
            )
        _draw_beacons(axes, beacons)
        legend(figure, axes)
        among = [f"Dotted: the fixed sizes at learning rate {rates[0]:g}."] if len(beacons) else []
        note(figure, [*remarks, *among, _shares_text(), omitted, *source.notes] if notes else ())
    return figure


def figure_5(
    runs: RunsLike, *, x: str = COND, y: str = ENERGY, metric: str | None = None, lr: float | None = None,
    method: Method | None = None, task: str | None = None, settings: tuple[str, ...] | None = None,
    notes: bool = True,
) -> Figure:  # fmt: skip
    """Draw the trajectory of each schedule in a panel of its own, among its beacons.

    Beacons are the fixed batch sizes of the same learning rate, dotted, over the contours of the metric and
    the border of the region.

    Args:
        runs: From `load_runs`, or a directory.
        x: Measure across.
        y: Measure upwards.
        metric: Column of the epochs; the validation metric by default.
        lr: Initial learning rate; by default the one with most schedules.
        method: Surface; by default the one that predicts left-out settings better.
        task: Task, if the runs are of several.
        settings: Names of schedules; by default the first six.
        notes: Print notes below the panels.

    Returns:
        The figure.

    Raises:
        AnalysisError: There is no schedule; the text says what is there.

    Example:
        ```python
        import fisherscope as fs
        from fisherscope import figures

        for policy in ("s8", "s32", "s8-to-32"):
            config = {"policy": policy, "lr": 0.1, "seed": 0, "epochs": 2}
            with fs.open_run(f"runs/figure_5/{policy}", config) as run:
                for epoch in (1, 2):
                    run.log_epoch(
                        step=8 * epoch, val_error=0.1 / epoch, fisher_cond_mean=9.0 * epoch,
                        fisher_energy_sum=1.0 * epoch,
                    )
        figures.save(figures.figure_5("runs/figure_5"), "figure_5.png")
        ```
    """
    source = settings_of(runs, task=task)
    moving = _dynamic(source, x, y, lr)
    if lr is None:
        counts = (
            moving.group_by("lr").agg(pl.col("setting").n_unique()).sort("setting", "lr", descending=True)
        )
        lr = counts["lr"][0]
        moving = moving.filter(pl.col("lr") == lr) if lr is not None else moving
    moving, omitted = _select_settings("5", moving, settings, PANELS)
    names = list(settings or moving["setting"].unique(maintain_order=True))
    beacons = _from_first_mark(_beacons(source, x, y, lr))
    name_of_metric = source.metric(metric)[0]
    remarks: list[str] = []
    with paper_style():
        columns = min(COLUMNS, len(names))
        count = -(-len(names) // columns)
        figure, all_axes = panels(count, columns, (4.6, 3.9) if columns > 1 else (6.8, 4.6))
        both = pl.concat([_from_first_mark(moving).select("x", "y"), beacons.select("x", "y")])
        land = (
            landscape(source.runs, x=x, y=y, metric=name_of_metric, task=source.task or None)
            if len(beacons)
            else None
        )
        for place, (axes, name) in enumerate(zip(all_axes, names, strict=False)):
            if land is not None:
                bar = (place + 1) % columns == 0
                remarks += [t for t in draw_surface(figure, axes, land, method, bar=bar) if t not in remarks]
            frame_plane(axes, both["x"].to_list(), both["y"].to_list(), (x, y))
            line = moving.filter(pl.col("setting") == name)
            _draw_trajectory(
                axes, _from_first_mark(line), CATEGORIES[3], "o", "the schedule", last=_last(line)
            )
            _draw_beacons(axes, beacons)
            axes.set_title(setting_label(name), fontsize=11)
            if place % columns:
                axes.set_ylabel("")
        for axes in all_axes[len(names) :]:
            axes.set_visible(False)
        alone = (
            [] if len(beacons) else [f"No fixed setting has learning rate {lr:g}, so no beacons are drawn."]
        )
        among = ["Dotted: the fixed sizes of the same learning rate. Orange line: border of the region."]
        texts = [*alone, *remarks, *(among if len(beacons) else []), _shares_text(), omitted, *source.notes]
        note(figure, texts if notes else ())
    return figure


def _dynamic(source: Settings, x: str, y: str, lr: float | None) -> pl.DataFrame:
    """Return positions of the schedules that did not diverge.

    Returns:
        A row per setting and epoch.

    Raises:
        AnalysisError: There is none.
    """
    moving = source.where(~pl.col("fixed"), ~pl.col("setting").is_in(lost_settings(source)))
    if lr is not None:
        moving = moving.where((pl.col("lr") - lr).abs() <= 1e-9 * lr)
    if not len(moving.frame):
        raise AnalysisError(
            f"drawing dynamic runs of {source.describe()}: every batch size is constant"
            + ("" if lr is None else f" at learning rate {lr:g}")
            + ", or has diverged; train schedules such as `fisherscope sweep TASK --policies s32-to-128`"
        )
    return require_positions(positions(comparable(moving), x, y), source, "a schedule")


def _select_settings(
    number: str, moving: pl.DataFrame, settings: tuple[str, ...] | None, most: int
) -> tuple[pl.DataFrame, str]:
    """Keep the schedules that were named, by default the first few.

    Returns:
        Their rows, and a note on those left out.

    Raises:
        AnalysisError: There is no schedule of that name.
    """
    there = sorted(moving["setting"].unique().to_list(), key=_numbers_apart)
    unknown = [name for name in settings or () if name not in there]
    if unknown:
        raise AnalysisError(
            f"drawing figure {number}: there is no dynamic setting {unknown[0]!r}; there are "
            f"{', '.join(there)}"
        )
    names = list(settings or there[:most])
    omitted = [] if settings else there[most:]
    text = f"Left out (name them by settings=): {', '.join(omitted)}." if omitted else ""
    rows = [moving.filter(pl.col("setting") == name) for name in names]
    return pl.concat(rows), text


def _numbers_apart(name: str) -> list[tuple[bool, float, str]]:
    """Return what names are sorted by: s16 before s128, and a schedule before its -MS."""
    parts = re.split(r"(\d+(?:\.\d+)?)", name.replace("-lr", " lr"))
    return [(True, float(part), "") if part[:1].isdigit() else (False, 0.0, part) for part in parts]


def _beacons(source: Settings, x: str, y: str, lr: float | None) -> pl.DataFrame:
    fixed = comparable(source.fixed().where(~pl.col("setting").is_in(lost_settings(source))))
    if lr is not None:
        fixed = fixed.where((pl.col("lr") - lr).abs() <= 1e-9 * lr)
    return positions(fixed, x, y)


def _last(rows: pl.DataFrame) -> int:
    """Return the last epoch of a trajectory."""
    last: int = rows["epoch"].max()  # type: ignore[assignment]
    return last


def _from_first_mark(rows: pl.DataFrame) -> pl.DataFrame:
    """Keep each setting's trajectory from its first mark, 5 % of its epochs."""
    last = pl.col("epoch").max().over("setting")
    first = (pl.col("epoch") - SHARES[0] * last).abs()
    start = pl.col("epoch").sort_by(first, pl.col("epoch")).first().over("setting")
    return rows.filter(pl.col("epoch") >= start)


def _draw_trajectory(
    axes: Axes, line: pl.DataFrame, colour: str, marker: str, name: str, *, last: int
) -> None:
    """Draw a trajectory, marked at shares of its `last` epoch, larger at the end."""
    x, y, epochs = (line[c].to_numpy() for c in ("x", "y", "epoch"))
    at = sorted({int(np.abs(epochs - share * last).argmin()) for share in SHARES})
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
    """Draw trajectories of the fixed sizes dotted; the size of each stands at its first mark."""
    sizes = sorted(set(rows["batch_size"].drop_nulls().to_list()))
    lines = [rows.filter(pl.col("batch_size") == size).select("x", "y").to_numpy() for size in sizes]
    for line in lines:
        axes.plot(*line.T, color=INK, linestyle=(0, (1, 1.6)), linewidth=1.3, zorder=2.5)
        axes.plot(*line[-1:].T, "o", color=INK, markersize=3.5, markeredgecolor="white", zorder=2.6)
    place_labels(
        axes, [tuple(line[0]) for line in lines], [f"s{size}" for size in sizes], lines=lines, reach=11.0,
        towards=(np.pi, 2 * np.pi), size=8.5, color=INK, fontweight="bold", zorder=7,
    )  # fmt: skip


def _shares_text() -> str:
    return f"Marks at {', '.join(f'{100 * share:g}' for share in SHARES)} % of the epochs."
