"""Figures 2 and 4: the measures against epochs and against iterations."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fisherscope.analysis import AnalysisError, Settings
from fisherscope.analysis.data.labels import measure_label
from fisherscope.analysis.data.run_measures import COND, ENERGY
from fisherscope.analysis.data.seed_means import comparable, one_rate, over_seeds
from fisherscope.analysis.data.settings import RunsLike, settings_of
from fisherscope.figures.log_axes import log_axis
from fisherscope.figures.style import DASHES, SOFT, legend, note, ordered_colours, panels, styled

SINGLE, SINGLE_ENERGY = "fisher/cond", "fisher/energy"


def figure_2(
    runs: RunsLike, *, lr: float | None = None, task: str | None = None, notes: bool = True
) -> Figure:
    """c_k and l_k of every measured batch (top), C̄_K and L_K (bottom) against epochs, a line a batch size.

    Args:
        runs: From `load_runs`, or a directory.
        lr: Rate; by default the one with most batch sizes.
        task: Which, where there are several.
        notes: Small print below.

    Raises:
        AnalysisError: No fixed setting has the measures, or none that rate; it says what is there.
    """
    source, rate = one_rate(settings_of(runs, task=task), lr)
    source = _measured(source, (COND, ENERGY))
    sizes = sorted(set(source.frame["batch_size"].to_list()))
    colours = dict(zip(sizes, ordered_colours(len(sizes)), strict=True))
    with styled():
        figure, (top, right, below, corner) = panels(2, 2, (4.6, 3.1))
        for axes, name in ((top, SINGLE), (right, SINGLE_ENERGY)):
            _draw_steps(axes, source, name, colours)
        for axes, name in ((below, COND), (corner, ENERGY)):
            _draw_means(axes, source, name, colours)
            axes.set_xlabel("epoch")
        _share_epochs((top, right, below, corner), source.last_epoch)
        for size, colour in colours.items():
            right.plot([], [], color=colour, linewidth=2.4, label=f"{size}")
        legend(figure, right, title="$|B|$")
        one = f"Rate {rate:g}. Top: one run a size; below: means over seeds, bands of one deviation."
        note(figure, [one, *_diverged_told(source), *source.notes] if notes else ())
    return figure


def figure_4(
    runs: RunsLike, *, sizes: tuple[int, ...] | None = None, task: str | None = None, notes: bool = True
) -> Figure:
    """C̄_K and L_K against iterations; dotted verticals where each batch size's training ends.

    C̄_K has the colours of |B| and L_K those of α, which is what each is said to go by; the other one is told
    by the dashes.

    Args:
        runs: From `load_runs`, or a directory.
        sizes: Batch sizes; by default all.
        task: Which, where there are several.
        notes: Small print below.

    Raises:
        AnalysisError: No fixed setting has the measures; it says what is there.
    """
    source = settings_of(runs, task=task).fixed()
    if sizes is not None:
        source = source.where(pl.col("batch_size").is_in(list(sizes)))
    source = _measured(source, (COND, ENERGY))
    with styled():
        figure, axes = panels(2, 1, (8.2, 3.9))
        for panel, name, keys in (
            (axes[0], COND, ("batch_size", "lr")),
            (axes[1], ENERGY, ("lr", "batch_size")),
        ):
            _draw_iterations(figure, panel, over_seeds(source, name, geometric=True), name, keys)
        ends = "Dotted verticals: where the training of each batch size ends."
        note(figure, [ends, *source.notes] if notes else ())
    return figure


def _draw_steps(axes: Axes, source: Settings, name: str, colours: dict[int, object]) -> None:
    """Every measured batch of one run a size, that with the smallest seed."""
    rows = source.steps
    if name not in rows.columns:
        axes.text(0.5, 0.5, f"{name} was not recorded", transform=axes.transAxes, ha="center", color=SOFT)
        return
    known = rows.filter(pl.col(name) > 0).select("run_id", "epoch", name)
    first = source.frame.sort("seed").group_by("batch_size", maintain_order=True).first()
    joined = known.join(first.select("run_id", "batch_size"), on="run_id")
    for (size, _), part in joined.group_by("batch_size", "run_id", maintain_order=True):
        axes.plot(
            part["epoch"].to_numpy(), part[name].to_numpy(), color=colours[size], linewidth=0.8, alpha=0.85
        )
    log_axis(axes, "y", joined[name].to_list())
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


def _draw_iterations(
    figure: Figure, axes: Axes, rows: pl.DataFrame, name: str, keys: tuple[str, str]
) -> None:
    """Lines coloured by the first key and dashed by the second."""
    symbols = {"batch_size": "$|B|$", "lr": r"$\alpha$"}
    colours, dashes = ({v: k for k, v in enumerate(sorted(set(rows[key].to_list())))} for key in keys)
    palette = ordered_colours(len(colours))
    for (first, second), line in rows.group_by(*keys, maintain_order=True):
        axes.plot(
            line["step"].to_numpy(), line["value"].to_numpy(), color=palette[colours[first]], linewidth=1.3,
            linestyle=DASHES[dashes[second] % len(DASHES)], marker="o" if len(line) == 1 else None,
        )  # fmt: skip
    log_axis(axes, "x", rows["step"].to_list())
    log_axis(axes, "y", rows["value"].to_list())
    for (_,), line in rows.group_by("batch_size", maintain_order=True):
        axes.axvline(line["step"].max(), color=SOFT, linestyle=":", linewidth=1.0, zorder=1)  # type: ignore[arg-type]
    for value, place in colours.items():
        axes.plot([], [], color=palette[place], linewidth=2.6, label=f"{symbols[keys[0]]} = {value:g}")
    for value, place in dashes.items():
        axes.plot(
            [], [], color=SOFT, linestyle=DASHES[place % len(DASHES)], label=f"{symbols[keys[1]]} = {value:g}"
        )
    axes.set_ylabel(measure_label(name))
    axes.set_xlabel("iteration")
    legend(figure, axes, ncols=2)


def _share_epochs(all_axes: tuple[Axes, ...], last: int) -> None:
    for axes in all_axes:
        axes.set_xlim(0, max(last, 1) * 1.02)


def _measured(source: Settings, names: tuple[str, str]) -> Settings:
    """The runs that can be compared, if any has the measures.

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


def _diverged_told(source: Settings) -> list[str]:
    lost = source.frame.filter(pl.col("status") == "diverged")
    return ["Diverged runs are drawn as far as they got."] if len(lost) else []
