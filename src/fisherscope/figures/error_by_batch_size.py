"""Figure 1a: the final metric against the batch size, a line a learning rate."""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure

from fisherscope.analysis import AnalysisError
from fisherscope.analysis.data.labels import metric_label, shown_scale
from fisherscope.analysis.data.settings import RunsLike, settings_of
from fisherscope.figures.log_axes import log_axis, size_axis
from fisherscope.figures.plane import finals
from fisherscope.figures.style import MARKERS, legend, note, ordered_colours, panels, styled

ASIDE = 1.025
"""Factor between the lines of neighbouring rates, so that their bars do not hide each other."""


def figure_1a(
    runs: RunsLike, *, metric: str | None = None, task: str | None = None, notes: bool = True
) -> Figure:
    """The final metric against |B|, a line a rate, bars of one deviation over seeds.

    Args:
        runs: From `load_runs`, or a directory.
        metric: Column of the epochs; by default the validation metric.
        task: Which, where there are several.
        notes: Small print below: what was left out, and why.

    Raises:
        AnalysisError: No setting has finished; it says what is there.
    """
    source = settings_of(runs, task=task)
    name, _ = source.metric(metric)
    found, told = finals(source, name)
    found = found.filter(pl.col("fixed") & pl.col("batch_size").is_not_null() & pl.col("lr").is_not_null())
    if not len(found):
        raise AnalysisError(
            f"drawing figure 1a of {source.describe()}: no constant batch size has finished; figures 1d, 5 "
            "and 6 show schedules"
        )
    scale, rates = shown_scale(name), sorted(set(found["lr"].to_list()))
    with styled():
        figure, (axes,) = panels(1, 1, (6.4, 4.2))
        for place, (lr, colour) in enumerate(zip(rates, ordered_colours(len(rates)), strict=True)):
            line = found.filter(pl.col("lr") == lr).sort("batch_size")
            beside = ASIDE ** (place - (len(rates) - 1) / 2)
            spread = [scale * (s or 0.0) for s in line["std"]]
            axes.errorbar(
                [beside * size for size in line["batch_size"]], [scale * v for v in line["value"]],
                yerr=spread if any(spread) else None, color=colour, marker=MARKERS[place % len(MARKERS)],
                capsize=2, elinewidth=0.9, label=f"{lr:g}",
            )  # fmt: skip
        size_axis(axes, found["batch_size"].to_list())
        log_axis(axes, "y", [scale * v for v in _ends(found)])
        axes.set_xlabel("batch size $|B|$")
        axes.set_ylabel(metric_label(name))
        legend(figure, axes, title=r"rate $\alpha$")
        note(figure, told if notes else ())
    return figure


def _ends(found: pl.DataFrame) -> list[float]:
    """Values, and the ends of the bars that a logarithmic axis can show."""
    spread = found["std"].fill_null(0.0)
    low, high = found["value"] - spread, found["value"] + spread
    return [
        *found["value"],
        *high,
        *(v for v, middle in zip(low, found["value"], strict=True) if v > middle / 3),
    ]
