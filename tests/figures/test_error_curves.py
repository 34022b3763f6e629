"""Error curves of named settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from fisherscope import figures
from fisherscope.analysis import AnalysisError


def lines(figure: Figure, panel: int = 0) -> dict[str, np.ndarray]:
    """Points of the labelled lines of a panel."""
    return {
        str(line.get_label()): line.get_xydata()
        for line in figure.axes[panel].lines
        if len(line.get_xydata())
    }


def test_error_curves_of_named_settings(sweep: Path) -> None:
    figure = figures.figure_6(sweep, settings=("s16-lr0.05", "s8-to-32-lr0.1"))
    assert set(lines(figure)) == {"s16-lr0.05", "s8-to-32-lr0.1"}
    assert (lines(figure)["s8-to-32-lr0.1"][:, 1] == 0).all()
    assert lines(figure, 1)["s8-to-32-lr0.1"][-1].tolist() == [8, pytest.approx(100 * 0.3 / 8)]
    columns = figures.figure_6(sweep)  # of the best of each kind: a column a schedule, with its beacons
    assert {frozenset(lines(columns, panel)) for panel in (0, 1)} == {
        frozenset({schedule, "s8-lr0.1", "s32-lr0.1"}) for schedule in ("s8-to-32-lr0.1", "s32-to-8-MS-lr0.1")
    }
    with pytest.raises(AnalysisError, match=r"no setting 's16-lr0\.5'; near: s16-lr0\.05"):
        figures.figure_6(sweep, settings=("s16-lr0.5",))
