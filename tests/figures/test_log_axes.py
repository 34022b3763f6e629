"""Ticks are round numbers."""

from __future__ import annotations

import pytest

from fisherscope.figures.log_axes import log_ticks, plain_number


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(1, 1000, [1, 10, 100, 1000]), (2, 40, [3, 10, 30]), (2.1, 8, [3, 4, 5, 6, 8]),
     (0.02, 0.9, [0.03, 0.1, 0.3])],
)  # fmt: skip
def test_ticks_are_round_numbers(low: float, high: float, ticks: list[float]) -> None:
    assert log_ticks(low, high) == pytest.approx(ticks)
    written = ["0.03", "1000", "10000", r"$2\cdot10^{-4}$", "$10^{6}$"]
    assert [plain_number(v) for v in (0.03, 1000, 1e4, 0.0002, 1e6)] == written


def test_ticks_of_less_than_a_factor_are_even_steps() -> None:
    assert log_ticks(3.1, 4.7) == pytest.approx([3.5, 4.0, 4.5])
    assert len(log_ticks(2.05, 2.29)) >= 3
