"""Figure of branches: loss against samples by batch size, and the trade-off with its critical batch size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from fisherscope.figures.log_axes import plain_number
from fisherscope.figures.style import CATEGORIES, INK, SOFT, colour_ramp, paper_style

CRITICAL = CATEGORIES[2]
PREDICTED = {"Euclidean": CATEGORIES[0], "optimizer": CATEGORIES[1]}
Answer = Mapping[str, Any]


def branches_figure(answer: Answer) -> Figure:
    """Draw branches: loss against samples by size (left), samples to one loss against the size (right).

    Args:
        answer: From `BranchResult.answer`, or the JSON of `fisherscope branch --json`.

    Returns:
        The figure.
    """
    arm, point = answer["arms"][0], answer["point"]
    with paper_style():
        figure = Figure(figsize=(10, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        _curves(left, answer, arm)
        _trade_off(right, answer, arm)
        figure.suptitle(
            f"{point['task']}, {point['optimizer']}: branches from step {point['step']} "
            f"(batch size {point['batch_size']})",
            fontsize=12,
        )
    return figure


def _curves(axes: Axes, answer: Answer, arm: Answer) -> None:
    """Draw each size's smoothed loss in the longest branches, and where the shorter ones ended."""
    at = [0, *answer["evaluated_at"]]
    curves, ends = (np.asarray(arm[key], dtype=float) for key in ("curves", "ends"))
    for k, (size, colour) in enumerate(zip(arm["sizes"], colour_ramp(len(arm["sizes"])), strict=True)):
        whole = np.insert(curves[:, k], 0, answer["point"]["loss"], axis=1)
        axes.plot(at, whole.mean(0), color=colour, label=f"{size}")
        axes.plot(answer["lengths"], ends[:, k].mean(0), "o", color=colour, ms=5)
        axes.fill_between(at, whole.min(0), whole.max(0), color=colour, alpha=0.18, lw=0)
    for number, fit in enumerate(arm["trade_offs"]):
        axes.axhline(fit["target"], color=SOFT, lw=1.0 if number == 0 else 0.6, ls="--")
        critical = "–" if fit["critical"] is None else f"{fit['critical']:.0f}"
        axes.annotate(
            f"critical {critical}", (1.0, fit["target"]), (-2, 2), xycoords=("axes fraction", "data"),
            textcoords="offset points", ha="right", va="bottom", fontsize=8.5, color=SOFT,
        )  # fmt: skip
    axes.set_xlabel("samples after the branching point")
    axes.set_ylabel("validation loss (points: where branches ended)")
    axes.set_title("Equal samples")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.legend(title="batch size", fontsize=9)


def _trade_off(axes: Axes, answer: Answer, arm: Answer) -> None:
    """Draw samples to the first target against the size, the fit, the critical size and the predictions."""
    axes.set_xscale("log", base=2)
    axes.set_xlabel("batch size")
    axes.set_title("Same loss")
    fit = arm["trade_offs"][0] if arm["trade_offs"] else None
    if fit is None or fit["critical"] is None:
        axes.text(0.5, 0.5, "not defined here", transform=axes.transAxes, ha="center", color=SOFT)
    if fit is None:
        return
    sizes = np.asarray(fit["sizes"], dtype=float)
    shown = [*sizes, *(p["scale"] for p in answer["predictions"] if p["scale"])]
    shown += [fit["critical"]] if fit["critical"] else []
    low, high = min(shown) / 1.6, min(max(shown), 16 * sizes[-1]) * 1.6
    line = np.geomspace(low, high, 100)
    axes.plot(
        line, fit["least_samples"] + fit["least_steps"] * line, color=INK, lw=1.2,
        label="$S = S_{min}\\,(1 + B_{crit}/B)$",
    )  # fmt: skip
    axes.plot(sizes, fit["samples"], "o", color=INK)
    if fit["critical"] is not None:
        ends = max(fit["low"], low), min(fit["high"] or math.inf, high)
        axes.axvspan(*ends, color=CRITICAL, alpha=0.14, lw=0)
        axes.axvline(fit["critical"], color=CRITICAL, label=f"critical {fit['critical']:.0f}")
    _predictions(axes, answer, (low, high))
    ticks = [2.0**k for k in range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)]
    axes.set_xticks(ticks, [plain_number(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(low, high)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_ylabel(f"samples to loss {fit['target']:.3f}")
    axes.legend(fontsize=9, loc="upper left")


def _predictions(axes: Axes, answer: Answer, limits: tuple[float, float]) -> None:
    """Draw the noise scales with their intervals near the lower edge."""
    for number, prediction in enumerate(answer["predictions"]):
        scale, metric = prediction["scale"], prediction["metric"]
        if scale is None or not limits[0] < scale < limits[1]:
            continue
        name = "Euclidean" if metric == "Euclidean" else f"{answer['point']['optimizer']}'s metric"
        height, colour = 0.05 + 0.06 * number, PREDICTED[metric]
        low, high = max(prediction["low"], limits[0]), min(prediction["high"] or math.inf, limits[1])
        transform = axes.get_xaxis_transform()
        axes.plot([low, high], [height] * 2, color=colour, lw=2.2, alpha=0.5, transform=transform)
        axes.plot(
            [scale],
            [height],
            "D",
            color=colour,
            transform=transform,
            label=f"noise scale, {name}: {scale:.0f}",
        )
