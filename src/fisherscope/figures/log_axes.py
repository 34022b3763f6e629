"""Logarithmic axes with readable ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

TAIL = 0.12
"""Share of the worst values that are clipped: runs that learn nothing would take most colours."""
STEPS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8))
FEWEST_TICKS = 3
PLAIN = (1e-3, 1e5)
"""Between these a tick is a plain number; outside it is a power of ten."""


def log_ticks(low: float, high: float) -> list[float]:
    """Choose round numbers between two positive ones, at least three if the range allows.

    Args:
        low: Lower end.
        high: Upper end.

    Returns:
        Ticks, at most eight.
    """
    ticks: list[float] = []
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in STEPS:
        ticks = [s * 10.0**d for d in decades for s in steps if low <= s * 10.0**d * (1 + 1e-9) and
                 s * 10.0**d <= high * (1 + 1e-9)]  # fmt: skip
        if len(ticks) >= FEWEST_TICKS:
            break
    if len(ticks) < FEWEST_TICKS:  # hardly a factor apart: even steps
        ticks = [t for t in MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= t <= high]
    while len(ticks) > 8:
        ticks = ticks[::2]
    return ticks or [low, high]


def metric_range(values: NDArray[np.float64], smaller_is_better: bool) -> tuple[float, float]:
    """Return the range of a metric that colours cover: all but the worst few, of five or more.

    Args:
        values: Values of the metric.
        smaller_is_better: Its direction.

    Returns:
        Lowest and highest value.
    """
    tail = TAIL if len(values) >= 5 else 0.0
    low, high = (0.0, 1.0 - tail) if smaller_is_better else (tail, 1.0)
    return float(np.quantile(values, low)), float(np.quantile(values, high))


def plain_number(value: float) -> str:
    """Format a tick as one would write it."""
    if value == 0:
        return "0"
    if PLAIN[0] <= abs(value) < PLAIN[1]:
        return f"{value:.5g}"
    power = math.floor(math.log10(abs(value)) + 1e-9)
    head = value / 10.0**power
    return (f"${head:.3g}\\cdot" if abs(head - 1) > 1e-6 else "$") + f"10^{{{power}}}$"


def three_digits(value: float) -> str:
    """Format a number with three digits."""
    return plain_number(float(f"{value:.3g}"))


def log_axis(axes: Axes, which: Literal["x", "y"], values: Sequence[float], pad: float = 0.06) -> None:
    """Make an axis logarithmic; with zeros among the values, linear below the smallest.

    Args:
        axes: The panel.
        which: Its axis.
        values: What is drawn; values that are not finite or negative are ignored.
        pad: Room at each end, as a share of the range.
    """
    shown_values = np.array([v for v in values if v is not None and math.isfinite(v) and v >= 0], dtype=float)
    positive = shown_values[shown_values > 0]
    axis = axes.xaxis if which == "x" else axes.yaxis
    set_scale, set_limits = (
        (axes.set_xscale, axes.set_xlim) if which == "x" else (axes.set_yscale, axes.set_ylim)
    )
    if not len(positive):
        return
    low, high = float(positive.min()), float(positive.max())
    room = max((high / low) ** pad, 1.05)
    ticks = log_ticks(low / room, high * room)
    if len(positive) < len(shown_values):
        set_scale("symlog", linthresh=low, linscale=0.4)
        set_limits(-0.12 * low, high * room)
        ticks = [0.0, *(t for t in ticks if t >= low)]
    else:
        set_scale("log")
        set_limits(low / room, high * room)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain_number(value)))


def size_axis(axes: Axes, sizes: Sequence[int]) -> None:
    """Make a logarithmic x axis whose ticks are the batch sizes, as many as fit."""
    known = sorted(set(sizes))
    axes.set_xscale("log", base=2)
    axes.set_xlim(known[0] / 1.25, known[-1] * 1.25)
    axes.xaxis.set_major_locator(FixedLocator(known[:: 1 + len(known) // 12]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
