"""Figures 2 and 4: the measures against epochs and against iterations."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fisherscope.analysis import AnalysisError, Settings
from fisherscope.analysis.data.labels import measure_label
from fisherscope.analysis.data.run_measures import COND, ENERGY
from fisherscope.analysis.data.seed_means import comparable, one_rate, over_seeds
from fisherscope.analysis.data.settings import RunsLike, settings_of
from fisherscope.figures.label_placement import place_labels
from fisherscope.figures.log_axes import log_axis
from fisherscope.figures.style import DASHES, SOFT, colour_ramp, legend, note, panels, paper_style

SINGLE, SINGLE_ENERGY = "fisher/cond", "fisher/energy"
BESIDE = (-0.4 * np.pi, 0.4 * np.pi)
"""Directions of the label of a line from its end: to the right."""
MOST_LINES = 4
"""Batch sizes, and learning rates, that figure 4 shows by default."""


def figure_2(
    runs: RunsLike, *, x: str = COND, y: str = ENERGY, lr: float | None = None, task: str | None = None,
    notes: bool = True,
) -> Figure:  # fmt: skip
    """Draw c_k and l_k (top), C̄_K and L_K (bottom) against epochs, a line per batch size.

    Args:
        runs: From `load_runs`, or a directory.
        x: Measure that is drawn for C̄_K, as `landscape` takes.
        y: Measure that is drawn for L_K.
        lr: Learning rate; by default the one with most batch sizes.
        task: Task, if the runs are of several.
        notes: Print notes below the panels.

    Returns:
        The figure.

    Raises:
        AnalysisError: No constant batch size has the measures, or none has that learning rate.

    Example:
        ```python
        import fisherscope as fs
        from fisherscope import figures

        for size in (8, 16, 32):
            config = {"batch_size": size, "lr": 0.1, "seed": 0, "epochs": 2}
            with fs.open_run(f"runs/figure_2/s{size}", config) as run:
                for epoch in (1, 2):
                    run.log_epoch(
                        step=64 // size * epoch, train_error=0.1, val_error=0.1 + 1 / size,
                        fisher_cond_mean=size * epoch, fisher_energy_sum=epoch / size,
                    )
        figures.save(figures.figure_2("runs/figure_2"), "figure_2.png")
        ```
    """
    source, rate = one_rate(settings_of(runs, task=task), lr)
    source = _comparable_with_measures(source, (x, y))
    sizes = sorted(set(source.frame["batch_size"].to_list()))
    colours = dict(zip(sizes, colour_ramp(len(sizes)), strict=True))
    with paper_style():
        figure, (top, right, below, corner) = panels(2, 2, (4.6, 3.1))
        for axes, name in ((top, SINGLE), (right, SINGLE_ENERGY)):
            _draw_steps(axes, source, name, colours)
        for axes, name in ((below, x), (corner, y)):
            _draw_means(axes, source, name, colours)
            axes.set_xlabel("epoch")
        _share_epochs((top, right, below, corner), source.last_epoch)
        for size, colour in colours.items():
            right.plot([], [], color=colour, linewidth=2.4, label=f"{size}")
        legend(figure, right, title="$|B|$")
        one = (
            f"Learning rate {rate:g}. Top: one run per batch size; below: means over seeds, bands of one "
            "deviation."
        )
        note(figure, [one, *_diverged_notes(source), *source.notes] if notes else ())
    return figure


def figure_4(
    runs: RunsLike, *, x: str = COND, y: str = ENERGY, sizes: tuple[int, ...] | None = None,
    task: str | None = None, notes: bool = True,
) -> Figure:  # fmt: skip
    """Draw C̄_K and L_K against iterations, with verticals where each batch size ends.

    Colours of C̄_K show |B| and those of L_K show α, which each mainly depends on; dashes show the other one.

    Args:
        runs: From `load_runs`, or a directory.
        x: Measure that is drawn for C̄_K, as `landscape` takes.
        y: Measure that is drawn for L_K.
        sizes: Batch sizes; by default at most four, without the smallest and the largest (as in the paper).
        task: Task, if the runs are of several.
        notes: Print notes below the panels.

    Returns:
        The figure.

    Raises:
        AnalysisError: No constant batch size has the measures; the text says what is there.

    Example:
        ```python
        import fisherscope as fs
        from fisherscope import figures

        for size in (8, 16, 32):
            config = {"batch_size": size, "lr": 0.1, "seed": 0, "epochs": 2}
            with fs.open_run(f"runs/figure_4/s{size}", config) as run:
                for epoch in (1, 2):
                    run.log_epoch(
                        step=64 // size * epoch, train_error=0.1, val_error=0.1 + 1 / size,
                        fisher_cond_mean=size * epoch, fisher_energy_sum=epoch / size,
                    )
        figures.save(figures.figure_4("runs/figure_4"), "figure_4.png")
        ```
    """
    source = settings_of(runs, task=task).fixed()
    source, left_out = _inner_settings(source, sizes)
    source = _comparable_with_measures(source, (x, y))
    with paper_style():
        figure, axes = panels(2, 1, (8.6, 4.2))
        for panel, name, keys in (
            (axes[0], x, ("batch_size", "lr")),
            (axes[1], y, ("lr", "batch_size")),
        ):
            _draw_iterations(panel, over_seeds(source, name, geometric=True), name, keys)
        ends = "Dotted verticals: where the training of each batch size ends."
        note(figure, [ends, left_out, *source.notes] if notes else ())
    return figure


def _inner_settings(source: Settings, sizes: tuple[int, ...] | None) -> tuple[Settings, str]:
    """Keep the sizes that were named; by default leave out the ends, and rates, so that lines stay apart.

    Returns:
        The runs, and a note on what was left out.
    """
    texts = []
    if sizes is not None:
        source = source.where(pl.col("batch_size").is_in(list(sizes)))
    for key, symbol in (("batch_size", "|B|"), ("lr", "α")):
        values = sorted(set(source.frame[key].drop_nulls().to_list()))
        inner = values[1:-1] if key == "batch_size" and len(values) > MOST_LINES else values
        step = -(-len(inner) // MOST_LINES)
        shown = (
            values if key == "batch_size" and sizes is not None else inner[(len(inner) - 1) % step :: step]
        )
        if len(shown) < len(values):
            omitted = ", ".join(f"{value:g}" for value in values if value not in shown)
            texts.append(f"{symbol} {omitted}")
            source = source.where(pl.col(key).is_in(shown))
    return source, f"Left out, to be readable: {'; '.join(texts)}." if texts else ""


def _draw_steps(axes: Axes, source: Settings, name: str, colours: dict[int, object]) -> None:
    """Draw every measured batch of one run per batch size, that with the smallest seed."""
    rows = source.steps
    if name not in rows.columns:
        axes.text(0.5, 0.5, f"{name} was not recorded", transform=axes.transAxes, ha="center", color=SOFT)
        return
    positive = rows.filter(pl.col(name) > 0).select("run_id", "epoch", name)
    first = source.frame.sort("seed").group_by("batch_size", maintain_order=True).first()
    rows_of_runs = positive.join(first.select("run_id", "batch_size"), on="run_id")
    for (size, _), part in rows_of_runs.group_by("batch_size", "run_id", maintain_order=True):
        axes.plot(
            part["epoch"].to_numpy(), part[name].to_numpy(), color=colours[size], linewidth=0.8, alpha=0.85
        )
    log_axis(axes, "y", rows_of_runs[name].to_list())
    axes.set_ylabel(measure_label(name))


def _draw_means(axes: Axes, source: Settings, name: str, colours: dict[int, object]) -> None:
    rows = over_seeds(source, name, geometric=True)
    for (size,), line in rows.group_by("batch_size", maintain_order=True):
        x, y = line["epoch"].to_numpy(), line["value"].to_numpy()
        axes.plot(x, y, color=colours[size], marker="o" if len(x) == 1 else None)
        if line["low"].is_not_null().any():
            axes.fill_between(
                x,
                line["low"].to_numpy(),
                line["high"].to_numpy(),
                color=colours[size],
                alpha=0.2,
                linewidth=0,
            )
    log_axis(axes, "y", [v for c in ("value", "low", "high") for v in rows[c].drop_nulls()])
    axes.set_ylabel(measure_label(name))


def _draw_iterations(axes: Axes, rows: pl.DataFrame, name: str, keys: tuple[str, str]) -> None:
    """Draw lines coloured by the first key, whose value stands beside them, and dashed by the second.

    Raises:
        AnalysisError: The epochs do not say their steps.
    """
    if not rows["step"].is_not_null().any():
        raise AnalysisError(
            f"drawing {name} against iterations: no epoch says its step; log it by "
            "run.log_epoch(monitor.epoch_end(), …), or run.log_epoch(step=…)"
        )
    symbols = {"batch_size": "$|B|$", "lr": r"$\alpha$"}
    colours, dashes = ({v: k for k, v in enumerate(sorted(set(rows[key].to_list())))} for key in keys)
    palette = colour_ramp(len(colours))
    ends: dict[float, tuple[float, float]] = {}
    lines = []
    for (first, second), line in rows.group_by(*keys, maintain_order=True):
        step, height = line["step"].to_numpy(), line["value"].to_numpy()
        axes.plot(
            step, height, color=palette[colours[first]], linewidth=1.4, alpha=0.9,
            linestyle=DASHES[dashes[second] % len(DASHES)], marker="o" if len(line) == 1 else None,
        )  # fmt: skip
        lines.append(np.column_stack([step, height]))
        ends[first] = max(ends.get(first, (0.0, 0.0)), (float(step[-1]), float(height[-1])))
    steps = rows["step"].to_list()
    log_axis(axes, "x", [*steps, 2.2 * max(steps)])  # room for the labels
    log_axis(axes, "y", rows["value"].to_list())
    for (size,), line in rows.group_by("batch_size", maintain_order=True):
        end = max(line["step"].to_list())
        axes.axvline(end, color=SOFT, linestyle=":", linewidth=1.0, zorder=1)
        axes.annotate(
            f"s{size}", (end, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 3), ha="center",
            textcoords="offset points", fontsize=8.5, color=SOFT,
        )  # fmt: skip
    labels: list[NDArray[np.float64]] = []
    for value, last in ends.items():
        labels = place_labels(
            axes, [last], [f"{symbols[keys[0]]} = {value:g}"], lines=lines, texts_before=labels,
            towards=BESIDE, reach=11.0, color=palette[colours[value]], fontweight="bold",
        )  # fmt: skip
    for value, place in dashes.items():
        axes.plot(
            [], [], color=SOFT, linestyle=DASHES[place % len(DASHES)], label=f"{symbols[keys[1]]} = {value:g}"
        )
    axes.set_ylabel(measure_label(name))
    axes.set_xlabel("iteration")
    axes.legend(loc="best", fontsize=8.5)


def _share_epochs(all_axes: tuple[Axes, ...], last: int) -> None:
    for axes in all_axes:
        axes.set_xlim(0, max(last, 1) * 1.02)


def _comparable_with_measures(source: Settings, names: tuple[str, str]) -> Settings:
    """Keep the runs that can be compared, if any has the measures.

    Returns:
        The runs.

    Raises:
        AnalysisError: None has.
    """
    everything, source = source, comparable(source)
    if not len(source.frame):
        raise AnalysisError(
            f"drawing measures of {everything.describe()}: no run with a constant batch size has an epoch"
        )
    for name in names:
        if not len(over_seeds(source, name, geometric=True)):
            raise AnalysisError(
                f"drawing measures of {source.describe()}: no run has {name}; train with a Monitor"
            )
    return source


def _diverged_notes(source: Settings) -> list[str]:
    diverged = source.frame.filter(pl.col("status") == "diverged")
    return ["Diverged runs are drawn as far as they got."] if len(diverged) else []
