"""Figures 1b, 3 and 7: the plane of two measures with a metric's contours."""

from __future__ import annotations

from typing import Any

import polars as pl
from matplotlib.figure import Figure

from fisherscope.analysis import AnalysisError, Landscape, Settings, landscape
from fisherscope.analysis.data.labels import RUNNING, metric_kind, metric_label
from fisherscope.analysis.data.run_measures import COND, ENERGY, at_epoch
from fisherscope.analysis.data.seed_means import lost_settings
from fisherscope.analysis.data.settings import RunsLike, settings_of
from fisherscope.analysis.landscapes.surface import Method
from fisherscope.figures.plane_drawing import axis_values, draw_rates, frame_plane, name_best
from fisherscope.figures.style import (
    legend,
    note,
    panels,
    paper_style,
)
from fisherscope.figures.surface import draw_surface

CONTOURS = {
    "process": "Contours: Gaussian process.",
    "nearest": "Contours: five nearest.",
    "paper": "Contours: five nearest with the paper's weights, which do not sum to 1: levels are too high.",
}
"""What the contours are, by method."""
MOSTLY = 0.5
"""Share of settings with a metric of exactly 0 from which its contours say nothing."""


def figure_1b(
    runs: RunsLike, *, x: str = COND, y: str = ENERGY, metric: str | None = None,
    method: Method | None = None, task: str | None = None, notes: bool = True,
) -> Figure:  # fmt: skip
    """Draw where every fixed setting ends in the plane, over contours of the metric.

    The best five are numbered.

    Args:
        runs: From `load_runs`, or a directory.
        x: Measure across, as `landscape` takes.
        y: Measure upwards.
        metric: Column of the epochs; the validation metric by default.
        method: Surface; by default the one that predicts left-out settings better.
        task: Task, if the runs are of several.
        notes: Print notes below: seeds, what was left out, what the surface is based on.

    Returns:
        The figure.

    Raises:
        AnalysisError: No setting has a position in the plane; the text says what is there.

    Example:
        ```python
        import fisherscope as fs
        from fisherscope import figures

        for size in (8, 16, 32):
            config = {"batch_size": size, "lr": 0.1, "seed": 0, "epochs": 2}
            with fs.open_run(f"runs/figure_1b/s{size}", config) as run:
                for epoch in (1, 2):
                    run.log_epoch(
                        step=64 // size * epoch, train_error=0.1, val_error=0.1 + 1 / size,
                        fisher_cond_mean=size * epoch, fisher_energy_sum=epoch / size,
                    )
        figures.save(figures.figure_1b("runs/figure_1b"), "figure_1b.png")
        ```
    """
    source = settings_of(runs, task=task)
    return _planes(source, [source.metric(metric)[0]], x, y, method, notes)


def figure_3(
    runs: RunsLike, *, x: str = COND, y: str = ENERGY, metrics: tuple[str, ...] | None = None,
    method: Method | None = None, task: str | None = None, notes: bool = True,
) -> Figure:  # fmt: skip
    """Draw figure 1b's plane twice: over training and over test error.

    Args:
        runs: From `load_runs`, or a directory.
        x: Measure across.
        y: Measure upwards.
        metrics: A panel each; by default training and test (else validation) of the metric.
        method: Surface.
        task: Task, if the runs are of several.
        notes: Print notes below the panels.

    Returns:
        The figure.

    Raises:
        AnalysisError: As `figure_1b`.

    Example:
        ```python
        import fisherscope as fs
        from fisherscope import figures

        for size in (8, 16, 32):
            config = {"batch_size": size, "lr": 0.1, "seed": 0, "epochs": 2}
            with fs.open_run(f"runs/figure_3/s{size}", config) as run:
                for epoch in (1, 2):
                    run.log_epoch(
                        step=64 // size * epoch, train_error=0.1, val_error=0.1 + 1 / size,
                        fisher_cond_mean=size * epoch, fisher_energy_sum=epoch / size,
                    )
        figures.save(figures.figure_3("runs/figure_3"), "figure_3.png")
        ```
    """
    source = settings_of(runs, task=task)
    remarks: list[str] = []
    names = list(metrics) if metrics else _train_and_test(source, remarks)
    return _planes(source, names, x, y, method, notes, remarks)


def figure_7(runs: RunsLike, *, task: str | None = None, **options: Any) -> Figure:
    """Draw figure 3's plane for the MLP: of the one task that is an MLP, if there are several.

    Args:
        runs: From `load_runs`, or a directory.
        task: Task; by default the one whose name ends in `/mlp`.
        **options: As for `figure_3`.

    Returns:
        The figure.

    Raises:
        AnalysisError: As `figure_3`.

    Example:
        ```python
        import fisherscope as fs
        from fisherscope import figures

        for size in (8, 16, 32):
            config = {"batch_size": size, "lr": 0.1, "seed": 0, "epochs": 2}
            with fs.open_run(f"runs/figure_7/s{size}", config) as run:
                for epoch in (1, 2):
                    run.log_epoch(
                        step=64 // size * epoch, train_error=0.1, val_error=0.1 + 1 / size,
                        fisher_cond_mean=size * epoch, fisher_energy_sum=epoch / size,
                    )
        figures.save(figures.figure_7("runs/figure_7"), "figure_7.png")
        ```
    """
    if task is None:
        from fisherscope.runs.reader import Runs, load_runs

        store = runs if isinstance(runs, Runs) else load_runs(runs)
        names = store.runs["task"].unique().to_list() if "task" in store.runs.columns else []
        of_mlp = [name for name in names if str(name).endswith("/mlp")]
        task = of_mlp[0] if len(of_mlp) == 1 < len(names) else None
    return figure_3(runs, task=task, **options)


def finals(source: Settings, name: str) -> tuple[pl.DataFrame, list[str]]:
    """Return means and deviations of settings that finished well, and notes."""
    lost_names = lost_settings(source)
    finished = source.where(pl.col("status") == "finished", ~pl.col("setting").is_in(lost_names))
    rows = finished.frame.join(at_epoch(finished, name), on="run_id")
    means = rows.group_by("setting", "fixed", "batch_size", "lr", maintain_order=True).agg(
        pl.col("value").mean(), pl.col("value").std().alias("std"), pl.len().alias("seeds")
    )
    return means, [_seeds_text(means["seeds"].to_list()), *source.notes]


def _planes(
    source: Settings, metrics: list[str], x: str, y: str, method: Method | None, notes: bool,
    before: list[str] | None = None,
) -> Figure:  # fmt: skip
    remarks = list(before or [])
    with paper_style():
        figure, all_axes = panels(len(metrics), 1, (7.6, 5.0))
        for axes, metric in zip(all_axes, metrics, strict=True):
            land = landscape(source.runs, x=x, y=y, metric=metric, task=source.task or None)
            rows = _drawn_settings(land, source)
            remarks += [t for t in draw_surface(figure, axes, land, method) if t not in remarks]
            draw_rates(axes, rows)
            frame_plane(axes, axis_values(rows, "x"), axis_values(rows, "y"), (x, y))
            name_best(axes, land, rows)
            axes.set_title(f"{source.task}: {metric_label(metric)}".removeprefix(": "))
            legend(figure, axes)
            remarks += [t for t in _landscape_notes(land, method or land.method) if t not in remarks]
        note(figure, remarks if notes else ())
    return figure


def _drawn_settings(land: Landscape, source: Settings) -> pl.DataFrame:
    """Return the fixed settings that finished well; if none has, those still training."""
    with_position = land.points.filter(
        pl.col("fixed") & pl.col("x").is_not_null() & pl.col("y").is_not_null() & (pl.col("diverged") == 0)
    )
    finished = with_position.filter(pl.col("metric").is_not_null())
    if len(finished):
        return finished
    if not len(with_position):
        raise AnalysisError(
            f"drawing the plane of {land.x} and {land.y} of {source.describe()}: no constant batch size "
            "that did not diverge has both measures; figures 2 and 4 show runs up to where they diverged"
        )
    return with_position


def _landscape_notes(land: Landscape, method: Method) -> list[str]:
    finished = land.surface_settings
    texts = [_seeds_text(finished["seeds"].to_list())] if len(finished) else ["No setting has finished yet."]
    if len(finished) >= 4:
        texts.append(CONTOURS[method])
    pending = land.points.filter(
        pl.col("fixed") & (pl.col("diverged") == 0) & pl.col("metric").is_null() & pl.col("x").is_not_null()
    )["setting"].to_list()
    if len(finished) and pending:
        texts.append(f"Not finished, left out: {', '.join(pending[:6])}.")
    return [*texts, *land.notes]


def _train_and_test(source: Settings, remarks: list[str]) -> list[str]:
    """Return training and test metric; the training loss if the error is almost always 0."""
    name, _ = source.metric(None)
    kind, columns = metric_kind(name), source.epochs.columns
    final = next((f"{part}/{kind}" for part in ("test", "val") if f"{part}/{kind}" in columns), name)
    train = f"train/{kind}{RUNNING}"
    if train in columns and source.epochs[train].null_count() == 0:  # as the paper's; not in older runs
        return [train, final]
    train = f"train/{kind}"
    if train not in columns:
        remarks.append(f"No {train} was logged.")
        return [final]
    values = finals(source.fixed(), train)[0]["value"]
    if "train/loss" in columns and len(values) and (values == 0).sum() > MOSTLY * len(values):
        remarks.append(
            f"The training {kind} is 0 for {(values == 0).sum()} of {len(values)} settings, so the training "
            "loss is shown."
        )
        train = "train/loss"
    return [train, final]


def _seeds_text(seeds: list[int]) -> str:
    if not seeds:
        return ""
    fewest, most = min(seeds), max(seeds)
    count = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    return f"{count} seed{'' if most == 1 else 's'} per setting; bars are one deviation." if most > 1 else ""
