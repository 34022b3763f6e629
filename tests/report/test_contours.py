"""Bands tile the plane."""

from __future__ import annotations

import numpy as np
import pytest

from fisherscope.report.contours import band_levels, bands


def test_bands_tile_the_plane() -> None:
    """The areas of the bands add up to that of the map, whatever the values, holes counted as such."""
    x, y = np.linspace(0, 3, 30), np.linspace(0, 2, 20)
    value = np.exp(np.sin(2 * x)[None] + np.cos(3 * y)[:, None])
    levels = band_levels(value.ravel()[::7], True)
    total = 0.0
    for band in bands(x, y, value, levels):
        for ring in band["rings"]:
            u, v = np.array(ring[::2]), np.array(ring[1::2])
            total += 0.5 * float(np.sum(u * np.roll(v, -1) - v * np.roll(u, -1)))
    assert abs(total) == pytest.approx(6.0, rel=1e-3)
