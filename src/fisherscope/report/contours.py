"""A surface as bands of polygons over the logarithms of the plane, for a page to fill."""

from __future__ import annotations

from typing import Any

import numpy as np
from contourpy import FillType, contour_generator
from numpy.typing import NDArray

Ring = list[float]
BANDS = 9
SIZE = 61
DIGITS = 3


def band_levels(values: NDArray[np.float64]) -> list[float]:
    """Borders of the bands, lowest to highest: even in the logarithm where all values are positive."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        return [low, high]
    even = np.geomspace(low, high, BANDS + 1) if low > 0 else np.linspace(low, high, BANDS + 1)
    return [float(level) for level in even]


def bands(
    log_x: NDArray[np.float64], log_y: NDArray[np.float64], value: NDArray[np.float64], levels: list[float]
) -> list[dict[str, Any]]:
    """`{band, rings}` for each band with any area: rings are x0, y0, x1, y1, … in the given coordinates.

    Args:
        log_x: Shape (n,).
        log_y: Shape (m,).
        value: Shape (m, n).
        levels: Borders; what lies beyond the outermost counts to its neighbour.
    """
    inside = np.clip(value, levels[0], levels[-1])
    generator = contour_generator(log_x, log_y, inside, fill_type=FillType.OuterOffset)
    found = []
    for band, (low, high) in enumerate(zip(levels, levels[1:], strict=False)):
        top = np.nextafter(high, np.inf) if band == len(levels) - 2 else high
        points, offsets = generator.filled(low, top)
        rings = [
            _ring(part[begin:end])
            for part, borders in zip(points, offsets, strict=True)
            for begin, end in zip(borders, borders[1:], strict=False)
        ]
        if rings:
            found.append({"band": band, "rings": rings})
    return found


def _ring(points: Any) -> Ring:
    flat: Ring = np.round(np.asarray(points, dtype=np.float64).ravel(), DIGITS).tolist()
    return flat
