"""Turn a surface into bands of polygons over the logarithms of the plane, for a page to fill."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import numpy as np
from contourpy import FillType, contour_generator
from numpy.typing import NDArray

from fisherscope.figures.log_axes import metric_range

Ring = list[float]
BANDS = 9
SIZE = 61
DIGITS = 3


def band_levels(values: NDArray[np.float64], smaller_is_better: bool) -> list[float]:
    """Return the borders of the bands, lowest to highest.

    Args:
        values: Shape (n,), the final metrics.
        smaller_is_better: Whether the worse values are the larger ones.

    Returns:
        `BANDS + 1` borders, or two equal ones where all values are the same.
    """
    low, high = metric_range(values, smaller_is_better)
    if low == high:
        return [low, high]
    even = np.geomspace(low, high, BANDS + 1) if low > 0 else np.linspace(low, high, BANDS + 1)
    return [float(level) for level in even]


def bands(
    log_x: NDArray[np.float64], log_y: NDArray[np.float64], value: NDArray[np.float64], levels: list[float]
) -> list[dict[str, Any]]:
    """Cut a surface into bands.

    Args:
        log_x: Shape (n,).
        log_y: Shape (m,).
        value: Shape (m, n).
        levels: Borders of the bands; values beyond the outermost belong to its neighbour.

    Returns:
        `{band, rings}` for each band with any area; a ring is x0, y0, x1, y1, … in the same coordinates.
    """
    generator = contour_generator(log_x, log_y, value, fill_type=FillType.OuterOffset)
    areas = []
    borders = [-np.inf, *levels[1:-1], np.inf]
    for band, (low, high) in enumerate(pairwise(borders)):
        points, offsets = cast("tuple[list[Any], list[Any]]", generator.filled(low, high))
        rings = [
            _ring(part[begin:end])
            for part, starts in zip(points, offsets, strict=True)
            for begin, end in pairwise(starts)
        ]
        if rings:
            areas.append({"band": band, "rings": rings})
    return areas


def _ring(points: Any) -> Ring:
    flat: Ring = np.round(np.asarray(points, dtype=np.float64).ravel(), DIGITS).tolist()
    return flat
