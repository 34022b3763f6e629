"""Early positions are those of their epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fisherscope import figures
from fisherscope.analysis import landscape


def test_early_places_are_those_of_their_epoch(sweep: Path) -> None:
    figure = figures.figure_1c(sweep, epochs=2)
    ends = sorted(
        line.get_xydata()[-1].tolist() for line in figure.axes[0].lines if len(line.get_xydata()) == 2
    )
    early = landscape(sweep, epoch=2).points.filter(~landscape(sweep, epoch=2).points["diverged"].cast(bool))
    expected = sorted(early.filter(early["fixed"]).select("x", "y").to_numpy().tolist())
    assert np.allclose(ends, expected)
    assert figure.axes[0].get_title(loc="left") == "Epochs 1 to 2"
