"""Figure 1a: the final metric against the batch size, a line per learning rate."""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure

from fisherscope.analysis import AnalysisError
from fisherscope.analysis.data.labels import metric_label, shown_scale
from fisherscope.analysis.data.settings import RunsLike, settings_of
from fisherscope.figures.log_axes import log_axis, size_axis
from fisherscope.figures.plane import finals
from fisherscope.figures.style import MARKERS, colour_ramp, legend, note, panels, paper_style

ASIDE = 1.025
"""Factor between the lines of neighbouring learning rates, so that bars do not overlap."""


def figure_1a(
    runs: RunsLike, *, metric: str | None = None, task: str | None = None, notes: bool = True
) -> Figure:
    """Draw the final metric against |B|, a line per learning rate, with bars over seeds.

    Args:
        runs: From `load_runs`, or a directory.
        metric: Column of the epochs; the validation metric by default.
        task: Task, if the runs are of several.
        notes: Print notes below: what was left out, and why.

    Returns:
        The figure.

    Raises:
        AnalysisError: No setting has finished; the text says what is there.

    Example:
        ```python
        import fisherscope as fs
        from fisherscope import figures

        for size in (8, 16, 32):
            config = {"batch_size": size, "lr": 0.1, "seed": 0, "epochs": 2}
            with fs.open_run(f"runs/figure_1a/s{size}", config) as run:
                for epoch in (1, 2):
                    run.log_epoch(
                        step=64 // size * epoch, train_error=0.1, val_error=0.1 + 1 / size,
                        fisher_cond_mean=size * epoch, fisher_energy_sum=epoch / size,
                    )
        figures.save(figures.figure_1a("runs/figure_1a"), "figure_1a.png")
        ```
    """
    source = settings_of(runs, task=task)
    name, _ = source.metric(metric)
    finals_frame, remarks = finals(source, name)
    finals_frame = finals_frame.filter(
        pl.col("fixed") & pl.col("batch_size").is_not_null() & pl.col("lr").is_not_null()
    )
    if not len(finals_frame):
        raise AnalysisError(
            f"drawing figure 1a of {source.describe()}: no constant batch size has finished; figures 1d, 5 "
            "and 6 show schedules"
        )
    scale, rates = shown_scale(name), sorted(set(finals_frame["lr"].to_list()))
    with paper_style():
        figure, (axes,) = panels(1, 1, (6.4, 4.2))
        for place, (lr, colour) in enumerate(zip(rates, colour_ramp(len(rates)), strict=True)):
            line = finals_frame.filter(pl.col("lr") == lr).sort("batch_size")
            shift = ASIDE ** (place - (len(rates) - 1) / 2)
            spread = [scale * (s or 0.0) for s in line["std"]]
            axes.errorbar(
                [shift * size for size in line["batch_size"]], [scale * v for v in line["value"]],
                yerr=spread if any(spread) else None, color=colour, marker=MARKERS[place % len(MARKERS)],
                capsize=2, elinewidth=0.9, label=f"{lr:g}",
            )  # fmt: skip
        size_axis(axes, finals_frame["batch_size"].to_list())
        log_axis(axes, "y", [scale * v for v in _ends(finals_frame)])
        axes.set_xlabel("batch size $|B|$")
        axes.set_ylabel(metric_label(name))
        legend(figure, axes, title=r"learning rate $\alpha$")
        note(figure, remarks if notes else ())
    return figure


def _ends(rows: pl.DataFrame) -> list[float]:
    """Return values, and the ends of the bars that a logarithmic axis can show."""
    spread = rows["std"].fill_null(0.0)
    low, high = rows["value"] - spread, rows["value"] + spread
    return [
        *rows["value"],
        *high,
        *(v for v, middle in zip(low, rows["value"], strict=True) if v > middle / 3),
    ]
