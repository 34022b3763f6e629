"""Figures 1b, 3 and 7: the plane of two measures, a metric's contours over it, the best five named."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fisherscope.analysis import AnalysisError, Landscape, Settings, landscape
from fisherscope.analysis.data.labels import measure_label, metric_label, shown_scale
from fisherscope.analysis.data.run_measures import COND, ENERGY, at_epoch
from fisherscope.analysis.data.seed_means import broken
from fisherscope.analysis.data.settings import RunsLike, settings_of
from fisherscope.analysis.landscapes.surface import Method
from fisherscope.figures.label_placement import place_labels
from fisherscope.figures.log_axes import TAIL, log_axis, three
from fisherscope.figures.style import (
    INK,
    MARKERS,
    legend,
    note,
    ordered_colours,
    panels,
    styled,
)
from fisherscope.figures.surface import draw_surface

LEFT = (0.7 * np.pi, 1.45 * np.pi)
"""Directions of the names of sizes: the line of the smallest rate has nothing on that side."""
MOSTLY = 0.5
"""Share of settings with a metric of exactly 0 from which its contours say nothing."""


def figure_1b(
    runs: RunsLike, *, x: str = COND, y: str = ENERGY, metric: str | None = None,
    method: Method | None = None, task: str | None = None, notes: bool = True,
) -> Figure:  # fmt: skip
    """Where every fixed setting ends in the plane, over the contours of the metric; the best five named.

    Args:
        runs: From `load_runs`, or a directory.
        x: Measure across, as `landscape` takes.
        y: Measure upwards.
        metric: Column of the epochs; by default the validation metric.
        method: Of the surface; by default the one that predicts left-out settings better.
        task: Which, where there are several.
        notes: Small print below: seeds, what was left out, what the surface rests on.

    Raises:
        AnalysisError: No setting has a place in the plane; it says what is there.
    """
    source = settings_of(runs, task=task)
    return _planes(source, [source.metric(metric)[0]], x, y, method, notes)


def figure_3(
    runs: RunsLike, *, x: str = COND, y: str = ENERGY, metrics: tuple[str, ...] | None = None,
    method: Method | None = None, task: str | None = None, notes: bool = True,
) -> Figure:  # fmt: skip
    """Figure 1b's plane twice: over the training and over the testing error, a line a rate.

    Args:
        runs: From `load_runs`, or a directory.
        x: Measure across.
        y: Measure upwards.
        metrics: A panel each; by default training and test (validation where there is none) of the metric.
        method: Of the surface.
        task: Which, where there are several.
        notes: Small print below.

    Raises:
        AnalysisError: As `figure_1b`.
    """
    source = settings_of(runs, task=task)
    told: list[str] = []
    names = list(metrics) if metrics else _both(source, told)
    return _planes(source, names, x, y, method, notes, told)


def figure_7(runs: RunsLike, *, task: str | None = None, **options: Any) -> Figure:
    """Figure 3's plane for the MLP: of the one task that is an MLP, where there are several.

    Raises:
        AnalysisError: As `figure_3`.
    """
    if task is None:
        from fisherscope.runs.reader import Runs, load_runs

        loaded = runs if isinstance(runs, Runs) else load_runs(runs)
        names = loaded.runs["task"].unique().to_list() if "task" in loaded.runs.columns else []
        of_mlp = [name for name in names if str(name).endswith("/mlp")]
        task = of_mlp[0] if len(of_mlp) == 1 < len(names) else None
    return figure_3(runs, task=task, **options)


def finals(source: Settings, name: str) -> tuple[pl.DataFrame, list[str]]:
    """`setting, fixed, batch_size, lr, value, std, seeds` of settings that ended well; and notes."""
    lost = broken(source)
    ended = source.where(pl.col("status") == "finished", ~pl.col("setting").is_in(lost))
    rows = ended.frame.join(at_epoch(ended, name), on="run_id")
    found = rows.group_by("setting", "fixed", "batch_size", "lr", maintain_order=True).agg(
        pl.col("value").mean(), pl.col("value").std().alias("std"), pl.len().alias("seeds")
    )
    return found, [_seeds_told(found["seeds"].to_list()), *source.notes]


def draw_rates(axes: Axes, rows: pl.DataFrame) -> None:
    """The settings, a line a rate through its batch sizes, with deviations over seeds."""
    rates = sorted(set(rows["lr"].drop_nulls().to_list()))
    for place, (lr, colour) in enumerate(zip(rates, ordered_colours(len(rates)), strict=True)):
        line = rows.filter(pl.col("lr") == lr).sort("batch_size")
        x, y = line["x"].to_numpy(), line["y"].to_numpy()
        axes.errorbar(
            x, y, xerr=_bars(line, "x"), yerr=_bars(line, "y"), color=colour, markersize=6,
            marker=MARKERS[place % len(MARKERS)],
            markeredgecolor="white", markeredgewidth=0.6, elinewidth=0.7, linewidth=1.1,
            label=rf"$\alpha$ = {lr:g}", zorder=3,
        )  # fmt: skip


def name_best(axes: Axes, found: Landscape, rows: pl.DataFrame) -> None:
    """Rings with numbers around the best, which the legend names; sizes beside the line of a rate.

    Args:
        axes: The panel, its limits set.
        found: What the best are of.
        rows: The settings drawn.
    """
    scale = shown_scale(found.metric)
    for rank, row in enumerate(found.best.iter_rows(named=True), start=1):
        value = three(scale * row["metric"])
        axes.plot(
            row["x"], row["y"], "o", markersize=13, markerfacecolor="none", markeredgecolor=INK,
            markeredgewidth=1.4, zorder=4, linestyle="none",
        )  # fmt: skip
        axes.plot([], [], marker=f"${rank}$", color=INK, linestyle="none", label=f"{row['setting']}, {value}")
    lines = [part.sort("batch_size").select("x", "y").to_numpy() for _, part in rows.group_by("lr")]
    best = list(found.best.select("x", "y").iter_rows())
    ranks = [str(rank) for rank in range(1, len(best) + 1)]
    taken = place_labels(axes, best, ranks, lines=lines, fontweight="bold", color=INK, zorder=6)
    _name_sizes(axes, rows, lines, taken)


def frame_plane(axes: Axes, x: list[float], y: list[float], names: tuple[str, str]) -> None:
    """Logarithmic axes with their measures' names."""
    log_axis(axes, "x", x)
    log_axis(axes, "y", y)
    axes.set_xlabel(measure_label(names[0]))
    axes.set_ylabel(measure_label(names[1]))


def _planes(
    source: Settings, metrics: list[str], x: str, y: str, method: Method | None, notes: bool,
    before: list[str] | None = None,
) -> Figure:  # fmt: skip
    told = list(before or [])
    with styled():
        figure, all_axes = panels(len(metrics), 1, (7.6, 5.0))
        for axes, metric in zip(all_axes, metrics, strict=True):
            found = landscape(source.runs, x=x, y=y, metric=metric, task=source.task or None)
            rows = _shown(found, source)
            told += [t for t in draw_surface(figure, axes, found, method) if t not in told]
            draw_rates(axes, rows)
            frame_plane(axes, _ends(rows, "x"), _ends(rows, "y"), (x, y))
            name_best(axes, found, rows)
            axes.set_title(f"{source.task}: {metric_label(metric)}".removeprefix(": "))
            legend(figure, axes)
            told += [t for t in _told(found) if t not in told]
        note(figure, told if notes else ())
    return figure


def _shown(found: Landscape, source: Settings) -> pl.DataFrame:
    """Fixed settings with a place that ended well; those under way only where none has ended."""
    placed = found.points.filter(
        pl.col("fixed") & pl.col("x").is_not_null() & pl.col("y").is_not_null() & (pl.col("diverged") == 0)
    )
    ended = placed.filter(pl.col("metric").is_not_null())
    if len(ended):
        return ended
    if not len(placed):
        raise AnalysisError(
            f"drawing the plane of {found.x} and {found.y} of {source.describe()}: no constant batch size "
            "that did not diverge has both measures; figures 2 and 4 show runs up to where they diverged"
        )
    return placed


def _told(found: Landscape) -> list[str]:
    ended = found.mapped
    told = [_seeds_told(ended["seeds"].to_list())] if len(ended) else ["No setting has finished: no errors."]
    if len(ended) >= 4:
        told.append("Contours: Gaussian process." if found.method == "process" else "Contours: five nearest.")
    pending = found.points.filter(
        pl.col("fixed") & (pl.col("diverged") == 0) & pl.col("metric").is_null() & pl.col("x").is_not_null()
    )["setting"].to_list()
    if len(ended) and pending:
        told.append(f"Not finished, left out: {', '.join(pending[:6])}.")
    return [*told, *found.notes]


def _both(source: Settings, told: list[str]) -> list[str]:
    """Training and testing metric; the training loss where the training error is 0 almost everywhere."""
    name, _ = source.metric(None)
    kind, columns = name.rpartition("/")[2], source.epochs.columns
    final = next((f"{part}/{kind}" for part in ("test", "val") if f"{part}/{kind}" in columns), name)
    train = f"train/{kind}"
    if train not in columns:
        told.append(f"No {train} was logged.")
        return [final]
    values = finals(source.fixed(), train)[0]["value"]
    if "train/loss" in columns and len(values) and (values == 0).sum() > MOSTLY * len(values):
        told.append(f"The training {kind} is 0 for {(values == 0).sum()} of {len(values)} settings, so the "
                    "training loss is shown.")  # fmt: skip
        train = "train/loss"
    return [train, final]


def _seeds_told(seeds: list[int]) -> str:
    if not seeds:
        return ""
    fewest, most = min(seeds), max(seeds)
    count = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    return f"{count} seed{'' if most == 1 else 's'} a setting; bars are one deviation." if most > 1 else ""


def _ends(rows: pl.DataFrame, column: str) -> list[float]:
    """What an axis must show: the settings, and the bars of all but the widest eighth."""
    values = rows[column].to_numpy()
    bars = _bars(rows, column)
    if bars is None:
        return list(values)
    usual = (bars.sum(axis=0) / values) <= np.quantile(bars.sum(axis=0) / values, 1 - TAIL)
    return [*values, *(values - bars[0])[usual], *(values + bars[1])[usual]]


def _bars(line: pl.DataFrame, column: str) -> np.ndarray[Any, Any] | None:
    """Lengths below and above of one deviation of the logarithm, shape (2, n); None for one seed."""
    if line[f"{column}_std"].is_null().all():
        return None
    value, std = line[column].to_numpy(), line[f"{column}_std"].fill_null(0.0).to_numpy()
    return np.stack([value - value * np.exp(-std), value * np.exp(std) - value])


def _name_sizes(
    axes: Axes, rows: pl.DataFrame, lines: list[np.ndarray[Any, Any]], taken: list[np.ndarray[Any, Any]]
) -> None:
    """Batch sizes beside the line of the smallest rate that has most of them."""
    counts = rows.group_by("lr").len().sort(pl.col("len"), -pl.col("lr"), descending=True)
    line = rows.filter(pl.col("lr") == counts["lr"][0]).sort("batch_size")
    places, sizes = line.select("x", "y").rows(), line["batch_size"].to_list()
    place_labels(
        axes, places, [f"{size}" for size in sizes], lines=lines, texts_before=taken, towards=LEFT,
        reach=14.0, size=8.5, color=INK, zorder=5,
    )  # fmt: skip
