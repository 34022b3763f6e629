"""Figure of an advice: time and samples to the same loss, and cost of a step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from fisherscope.figures.style import CATEGORIES, SOFT, paper_style

if TYPE_CHECKING:
    from fisherscope.analysis.batch_size.advice import Advice

TIME, SAMPLES, NOISE = CATEGORIES[0], CATEGORIES[1], CATEGORIES[2]


def advice_figure(advice: Advice) -> Figure:
    """Draw time and samples to the same loss (left), speed and memory of a step (right).

    Args:
        advice: From `advise`.

    Returns:
        The figure.
    """
    with paper_style():
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        _progress(left, advice)
        _steps(right, advice)
        figure.suptitle(f"{advice.name}: {advice.sentence.split(';')[0].rstrip('.')}", fontsize=12)
    return figure


def _progress(axes: Axes, advice: Advice) -> None:
    rows = [row for row in advice.rows if row.relative_time is not None]
    sizes = [row.step.batch_size for row in rows]
    axes.plot(sizes, [row.relative_time or math.nan for row in rows], "o-", color=TIME, label="time")
    axes.plot(
        sizes, [row.relative_samples or math.nan for row in rows], "s--", color=SAMPLES, label="samples"
    )
    noise = advice.noise
    if sizes:
        _sizes(axes, sizes)
        ends = max(noise.low, sizes[0] / 1.4), min(noise.high, sizes[-1] * 1.4)
        if ends[0] < ends[1]:
            axes.axvspan(*ends, color=NOISE, alpha=0.15, lw=0, label="noise scale (interval)")
        best = next((row for row in rows if row.step.batch_size == advice.fastest), None)
        if best is not None and best.relative_time is not None:
            axes.plot(best.step.batch_size, best.relative_time, "o", ms=11, mfc="none", mec=TIME, mew=2)
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.set_ylabel("to the same loss, relative")
    axes.set_title("Cost of a batch size")
    axes.legend()


def _steps(axes: Axes, advice: Advice) -> None:
    rows = [row for row in advice.rows if row.samples_per_second is not None]
    sizes = [row.step.batch_size for row in rows]
    axes.plot(sizes, [row.samples_per_second or math.nan for row in rows], "o-", color=TIME)
    if sizes:
        _sizes(axes, sizes)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_ylabel("samples/s")
    axes.set_title("Speed of this machine")
    memory = [(row.step.batch_size, row.step.memory_bytes) for row in rows if row.step.memory_bytes]
    if memory:
        other = axes.twinx()
        other.plot([s for s, _ in memory], [b / 2**20 for _, b in memory], "s--", color=SOFT, ms=4)
        other.set_ylim(bottom=0)
        other.set_ylabel("memory of a step, MiB (dashed)", color=SOFT)
        other.grid(False)


def _sizes(axes: Axes, sizes: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(sizes[0] / 1.4, sizes[-1] * 1.4)
    axes.set_xlabel("batch size")
