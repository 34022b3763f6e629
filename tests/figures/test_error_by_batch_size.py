"""Errors by batch size are the planted ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cases.figure_sweep import TRUTH, small_print
from tests.cases.planted_sweep import final_error

from fisherscope import figures


def test_error_lines_are_the_planted_ones(sweep: Path) -> None:
    figure = figures.figure_1a(sweep)
    (container,) = [c for c in figure.axes[0].containers if c.get_label() == "0.05"]
    for size, error in container.lines[0].get_xydata():
        assert error == pytest.approx(100 * final_error(TRUTH, size, 0.05), abs=0.3)
    assert "s8-lr0.2 diverged" in small_print(figure)
    assert not small_print(figures.figure_1a(sweep, notes=False))
