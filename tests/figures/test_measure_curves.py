"""Curves of measures are the recorded ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.cases.figure_sweep import TRUTH

import fisherscope as fs
from fisherscope import figures
from fisherscope.analysis import AnalysisError


def test_measures_are_the_recorded_ones(sweep: Path) -> None:
    figure = figures.figure_2(sweep, lr=0.1)
    runs = fs.load_runs(sweep)
    last = runs.epochs.filter(runs.epochs["run_id"].str.starts_with("s32-lr0.1-"))
    expected = np.exp(np.log(last.filter(last["epoch"] == 8)["fisher/energy_sum"].to_numpy()).mean())
    ends = [line.get_ydata()[-1] for line in figure.axes[3].lines]
    assert any(end == pytest.approx(expected) for end in ends)
    with pytest.raises(AnalysisError, match=r"the learning rate 0\.3 .* there are 0\.025, 0\.05, 0\.1, 0\.2"):
        figures.figure_2(sweep, lr=0.3)


def test_verticals_stand_where_training_ends(sweep: Path) -> None:
    figure = figures.figure_4(sweep)
    verticals = {line.get_xdata()[0] for line in figure.axes[0].lines if line.get_linestyle() == ":"
                 and len(set(line.get_xdata())) == 1}  # fmt: skip
    assert {8 * 2048 / size for size in TRUTH.batch_sizes} <= verticals
