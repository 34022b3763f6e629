"""Durations and aligned tables as people read them."""

from __future__ import annotations

import doctest

import pytest

from fisherscope import plain_text, sweep
from fisherscope.plain_text import aligned_table, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2.0 h"), (90_000, "25.0 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
    assert sweep.duration is duration


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert aligned_table(["a", "b"], [["x", "1"], ["long", "10"]], align="lr") == [
        "a      b",
        "x      1",
        "long  10",
    ]
    assert aligned_table(["a", "b"], [["x", "1"]], rule=True) == ["a  b", "-  -", "x  1"]
    assert aligned_table(["a", "b"], []) == ["a  b"]


def test_a_cell_of_several_lines_leaves_its_columns_aligned() -> None:
    lines = aligned_table(["a", "reason", "c"], [["x", "first\nsecond", "1"], ["y", "", "2"]])
    assert lines == ["a  reason  c", "x  first   1", "   second", "y          2"]


def test_a_foreign_name_does_not_stretch_a_table() -> None:
    lines = aligned_table(["a", "b"], [["x" * 50_000, "1"], ["y\n" + "z" * 3000, "2"]])
    assert max(map(len, lines)) == 203
    assert lines[1].endswith("xxx  1")


def test_examples() -> None:
    result = doctest.testmod(plain_text)
    assert result.attempted
    assert not result.failed
