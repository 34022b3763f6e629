"""The trade-off's fit against a general least-squares solver, its interval against repeated draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from fisherscope.branching.trade_off import equal_samples, samples_to, smooth, trade_off

SIZES = (8, 16, 32, 64, 128)
sizes = st.lists(st.integers(1, 500), min_size=3, max_size=7, unique=True).map(sorted)


@settings(max_examples=60, deadline=None)
@given(sizes, st.floats(1, 2000), st.floats(1, 1000), st.integers(0, 1000))
def test_it_is_the_least_squares_of_the_steps_relative_error(
    sizes: list[int], critical: float, least: float, seed: int
) -> None:
    """Fitted in S with two positive unknowns, by a solver that knows neither lines nor samples."""
    b = np.array(sizes, dtype=float)
    noise = np.random.default_rng(seed).normal(1, 0.01, len(b))
    steps = least * (1 + critical / b) * noise
    fit = trade_off(2.0, sizes, [steps * b, steps * b])

    def relative(logs: np.ndarray) -> np.ndarray:
        s_min, b_crit = np.exp(logs)
        return s_min * (1 + b_crit / b) / steps - 1

    solved = least_squares(relative, np.log([least, critical]), xtol=1e-14, ftol=1e-14, gtol=1e-14)
    if fit.why:
        assert fit.least_steps <= 0 or fit.least_samples <= 0
        return
    assert 2 * solved.cost == pytest.approx(len(b) * fit.misfit**2, rel=1e-3, abs=1e-12)
    if solved.success and 0.02 < critical / np.median(b) < 50:
        assert fit.least_steps == pytest.approx(np.exp(solved.x[0]), rel=0.02)
        assert fit.critical == pytest.approx(np.exp(solved.x[1]), rel=0.02)


def test_its_interval_covers_the_truth_in_nine_of_ten_draws() -> None:
    """Orders differ by 3 %: between 85 and 99 % of 400 draws, whose own deviation is 1.5 %."""
    draws, orders, truth = np.random.default_rng(0), 4, 60.0
    b = np.array(SIZES, dtype=float)
    covered = 0
    for _ in range(400):
        samples = 1000 * (1 + b / truth) * draws.normal(1, 0.03, (orders, len(b)))
        fit = trade_off(2.0, SIZES, samples)
        covered += fit.low <= truth <= fit.high
    assert 0.85 <= covered / 400 <= 0.99


@pytest.mark.parametrize(
    ("samples", "why"),
    [
        ([1000.0] * 5, "larger batches take no more samples"),
        ([1000.0, 990.0, 970.0, 950.0, 900.0], "larger batches take no more samples"),
        ([80.0 * 0.9, 160.0, 320.0, 640.0, 1280 * 1.1], "samples grow faster than the batch size"),
    ],
)
def test_where_it_is_not_defined_it_says_why(samples: list[float], why: str) -> None:
    fit = trade_off(2.0, SIZES, [samples, [e * 1.0001 for e in samples]])
    assert why in fit.why
    assert math.isnan(fit.critical)


def test_one_order_has_no_interval() -> None:
    fit = trade_off(2.0, SIZES, [[1000 * (1 + b / 50) for b in SIZES]])
    assert fit.critical == pytest.approx(50)
    assert (fit.low, fit.high) == (0.0, math.inf)
    assert fit.steps == pytest.approx([1000 * (1 + b / 50) / b for b in SIZES])


@settings(max_examples=60, deadline=None)
@given(st.floats(0.01, 0.3), st.floats(0.3, 3), st.floats(0.2, 5))
def test_the_samples_to_a_loss_are_those_of_a_known_curve(slope: float, start: float, ratio: float) -> None:
    """Of losses that are linear in log n, inside the lengths and beyond them; by bisection of the curve."""
    lengths = np.array([256.0, 512.0, 1024.0])

    def end(samples: float) -> float:
        return start - slope * math.log(samples)

    target = end(512 * ratio)
    low, high = 1.0, 1e6
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if end(middle) > target else (low, middle)
    found = samples_to(target, lengths, np.array([end(n) for n in lengths]))
    assert found == pytest.approx(low, rel=1e-6)


def test_between_lengths_it_is_the_neighbours_line() -> None:
    lengths, ends = np.array([100.0, 200.0, 400.0]), np.array([2.0, 1.8, 1.7])
    assert samples_to(1.9, lengths, ends) == pytest.approx(100 * 2**0.5)
    assert samples_to(1.75, lengths, ends) == pytest.approx(200 * 2**0.5)
    assert samples_to(1.7, lengths, ends) == pytest.approx(400)
    assert math.isnan(samples_to(1.6, lengths, np.array([2.0, 1.8, 1.8])))


@given(st.integers(3, 10), st.floats(-3, 3), st.floats(-3, 3), st.integers(0, 1000))
def test_smoothing_keeps_lines_and_averages_noise(points: int, a: float, b: float, seed: int) -> None:
    line = a + b * np.arange(points)
    assert smooth(line) == pytest.approx(line, abs=1e-9)
    noisy = np.random.default_rng(seed).normal(size=points)
    fitted = [  # a line through each point and its neighbours, by polyfit
        np.polyval(np.polyfit(range(w, w + 3), noisy[w : w + 3], 1), k)
        for k in range(points)
        for w in [min(max(k - 1, 0), points - 3)]
    ]
    assert smooth(noisy) == pytest.approx(fitted, abs=1e-9)


def test_at_equal_samples_the_size_is_interpolated_and_censored() -> None:
    excess = np.array([0.0, 0.0, 0.0, 0.02, 0.08])
    ends = 1.8 + excess + np.array([[1e-5], [0.0], [-1e-5]]) * np.array([0, 1, -1, 1, -1])
    found = equal_samples(SIZES, ends, 0.01)
    assert found.size == pytest.approx(32 * 2**0.5, rel=0.01)
    assert found.low <= found.size <= found.high
    assert not found.note
    assert equal_samples(SIZES, ends, 0.1).note == "at least"
    assert equal_samples(SIZES, ends - excess, 0.01).size == 128
    assert "inconclusive" in equal_samples(SIZES, ends, 1e-6).note
