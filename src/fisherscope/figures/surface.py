"""Draw a metric over the plane: contours, region and colour bar."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.path import Path
from scipy.spatial import ConvexHull

from fisherscope.analysis import Landscape
from fisherscope.analysis.data.labels import metric_label, shown_scale
from fisherscope.analysis.landscapes.surface import GRID, Method
from fisherscope.figures.log_axes import log_ticks, metric_range, plain_number, three_digits
from fisherscope.figures.style import REGION, metric_map

LEVELS = 9
MAP_SIZE = 81
REACH = 0.07
"""How far beyond the settings a surface is shown, in parts of the plane's side."""


def draw_surface(
    figure: Figure, axes: Axes, landscape: Landscape, method: Method | None = None, *, bar: bool = True
) -> list[str]:
    """Draw contours of the metric with their bar, and the border of the region.

    Args:
        figure: The figure.
        axes: The panel.
        landscape: The landscape.
        method: Surface; by default the better one.
        bar: Whether to draw the bar that explains the colours.

    Returns:
        A note if there are no contours.
    """
    rows = landscape.surface_settings
    if len(rows) < 4 or rows["metric"].n_unique() < 2:
        return (
            [] if len(rows) < 4 else [f"{metric_label(landscape.metric)} is the same for all: no contours."]
        )
    x, y, value, _ = landscape.contour(method, GRID if method == "paper" else MAP_SIZE)
    scale = shown_scale(landscape.metric)
    scaled = scale * value
    metric = scale * rows["metric"].to_numpy()
    norm, levels = metric_levels(metric, landscape.smaller_is_better)
    colours = metric_map(landscape.smaller_is_better)
    mesh = axes.contourf(x, y, scaled, levels=levels, norm=norm, cmap=colours, extend="both")
    lines = axes.contour(x, y, scaled, levels=levels, colors="white", linewidths=0.5)
    region = axes.contour(x, y, scaled, levels=[scale * landscape.level], colors=REGION, linewidths=1.6)
    border = Path(_border(landscape))
    for drawn in (mesh, lines, region):
        drawn.set_clip_path(border, axes.transData)
    axes.plot(
        [], [], color=REGION, linewidth=1.6, label=f"region, to {three_digits(scale * landscape.level)}"
    )
    if bar:
        metric_bar(figure, axes, mesh, levels, landscape.metric)
    return []


def metric_bar(
    figure: Figure, axes: Axes, colours: ScalarMappable, levels: np.ndarray[Any, Any], metric: str
) -> None:
    """Draw the bar that explains the colours of a metric."""
    bar = figure.colorbar(
        colours, ax=axes, label=metric_label(metric), pad=0.02, aspect=30, shrink=0.98, extend="both"
    )
    low, high = float(levels[0]), float(levels[-1])
    ticks = log_ticks(low, high) if low > 0 else levels[::2].tolist()
    bar.set_ticks(ticks, labels=[plain_number(t) for t in ticks])
    bar.minorticks_off()


def _border(landscape: Landscape) -> np.ndarray[Any, Any]:
    """Return the corners of the area near the settings, where a surface is shown."""
    points, low, reach = landscape.scaled()
    turn = np.linspace(0.0, 2 * np.pi, 48)
    circle = REACH * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    around = (points[:, None] + circle).reshape(-1, 2)
    corners: np.ndarray[Any, Any] = np.exp(low + reach * around[ConvexHull(around).vertices])
    return corners


def metric_levels(
    values: np.ndarray[Any, Any], smaller_is_better: bool
) -> tuple[Normalize, np.ndarray[Any, Any]]:
    """Return colours of a metric and their borders, even in its logarithm if it is positive.

    Args:
        values: Values of the metric.
        smaller_is_better: Its direction.

    Returns:
        The norm, and the borders (LEVELS,).
    """
    low, high = metric_range(values, smaller_is_better)
    high = high if high > low else float(values.max())
    if low > 0:
        return LogNorm(low, high), np.geomspace(low, high, LEVELS)
    return Normalize(low, high), np.linspace(low, high, LEVELS)
