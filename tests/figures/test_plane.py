"""Marks of the plane are the landscape's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tests.cases.figure_sweep import small_print

from fisherscope import figures
from fisherscope.analysis import landscape


def test_marks_of_the_plane_are_the_landscape_s(sweep: Path) -> None:
    figure = figures.figure_1b(sweep)
    drawn = np.concatenate([c.lines[0].get_xydata() for c in figure.axes[0].containers])
    found = landscape(sweep).surface_settings.select("x", "y").to_numpy()
    assert np.allclose(np.sort(drawn, axis=0), np.sort(found, axis=0))
    assert "Not finished, left out: s64-lr0.025" in small_print(figure)
