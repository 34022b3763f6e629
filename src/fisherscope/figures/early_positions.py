"""Figure 1c: the first epochs of every setting in the plane."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from fisherscope.analysis import AnalysisError, landscape
from fisherscope.analysis.data.labels import shown_scale
from fisherscope.analysis.data.run_measures import COND, ENERGY
from fisherscope.analysis.data.seed_means import comparable, lost_settings, positions
from fisherscope.analysis.data.settings import RunsLike, settings_of
from fisherscope.figures.plane_drawing import frame_plane, require_positions
from fisherscope.figures.style import (
    INK,
    MARKERS,
    SOFT,
    legend,
    metric_map,
    note,
    panels,
    paper_style,
)
from fisherscope.figures.surface import metric_bar, metric_levels

SNAPSHOTS = (1, 3, 6)
"""Epochs whose positions figure 1c marks, besides the last."""


def figure_1c(
    runs: RunsLike, *, epochs: int = 10, x: str = COND, y: str = ENERGY, metric: str | None = None,
    task: str | None = None, notes: bool = True,
) -> Figure:  # fmt: skip
    """Draw the first epochs of every fixed setting, marks coloured by the *final* metric.

    Args:
        runs: From `load_runs`, or a directory.
        epochs: Number of epochs.
        x: Measure across.
        y: Measure upwards.
        metric: Column of the epochs; the validation metric by default.
        task: Task, if the runs are of several.
        notes: Print notes below the panels.

    Returns:
        The figure.

    Raises:
        AnalysisError: No fixed setting has a position in the plane; the text says what is there.

    Example:
        ```python
        import fisherscope as fs
        from fisherscope import figures

        for size in (8, 16, 32):
            config = {"batch_size": size, "lr": 0.1, "seed": 0, "epochs": 2}
            with fs.open_run(f"runs/figure_1c/s{size}", config) as run:
                for epoch in (1, 2):
                    run.log_epoch(
                        step=64 // size * epoch, train_error=0.1, val_error=0.1 + 1 / size,
                        fisher_cond_mean=size * epoch, fisher_energy_sum=epoch / size,
                    )
        figures.save(figures.figure_1c("runs/figure_1c"), "figure_1c.png")
        ```
    """
    source = settings_of(runs, task=task)
    lost_names = lost_settings(source)
    fixed = comparable(source.fixed().where(~pl.col("setting").is_in(lost_names)))
    rows = require_positions(positions(fixed, x, y), source, "a constant batch size").filter(
        pl.col("epoch") <= epochs
    )
    if not len(rows):
        raise AnalysisError(f"drawing figure 1c of {source.describe()}: nothing up to epoch {epochs}")
    name = source.metric(metric)[0]
    final = dict(landscape(source.runs, x=x, y=y, metric=name, task=source.task or None).points
                 .select("setting", "metric").iter_rows())  # fmt: skip
    with paper_style():
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
        note(figure, [f"Marks: position at epoch {until}; colour: final metric.", *hollow,
                      *source.notes] if notes else ())  # fmt: skip
    return figure


def _mark_epochs(axes: Axes, rows: pl.DataFrame) -> None:
    """Mark the positions at the first few epochs, lighter the earlier."""
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
    """Draw marks in the shape of the learning rate and the colour of the final metric."""
    scale = shown_scale(metric)
    values = [scale * v for v in (final.get(s) for s in last["setting"]) if v is not None]
    several = len(set(values)) > 1
    norm, levels = metric_levels(np.array(values), smaller) if several else (None, np.array([]))
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
