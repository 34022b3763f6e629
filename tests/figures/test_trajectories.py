"""Trajectories are marked at shares of the epochs."""

from __future__ import annotations

from pathlib import Path

from matplotlib.colors import to_hex

from fisherscope import figures


def test_travel_is_marked_at_the_shares_of_the_epochs(sweep: Path) -> None:
    figure = figures.figure_5(sweep)
    assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == ["s8-to-32-lr0.1", "s32-to-8-MS-lr0.1"]
    marks = next(line.get_xydata() for line in figure.axes[1].lines
                 if len(line.get_xydata()) == 6 and to_hex(line.get_color()) == "#cc79a7")  # fmt: skip
    assert (marks[:, 1] / 3).round().tolist() == [1, 2, 3, 5, 6, 8]  # 5, 20, 40, 60, 80, 100 % of eight
