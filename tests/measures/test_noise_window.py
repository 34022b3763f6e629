"""The window of the noise scale: ratio of means, and Fieller's interval against drawn windows."""

import math

import numpy as np
import pytest

from fisherscope.measures import NoiseWindow


@pytest.mark.parametrize(("signal", "spread"), [(1.0, 0.2), (1.0, 0.6), (1.0, 1.5), (0.3, 1.5)])
@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.8])
def test_the_interval_covers_as_often_as_it_says(signal: float, spread: float, correlation: float) -> None:
    draw, covered, trials = np.random.default_rng(1), 0, 1500
    for _ in range(trials):
        z = draw.normal(size=(2, 10))
        variances = 60 + 8 * z[0]
        signals = signal + spread * (correlation * z[0] + math.sqrt(1 - correlation**2) * z[1])
        low, high = NoiseWindow(list(variances), list(signals)).interval(0.9)
        covered += low <= 60 / signal <= high
    assert 0.88 < covered / trials < 0.94  # conservative where the window says little


def test_the_interval_narrows_to_the_scale() -> None:
    low, high = NoiseWindow([60.0 + 1e-6 * k for k in range(10)], [2.0] * 10).interval()
    assert low == pytest.approx(30, rel=1e-6)
    assert high == pytest.approx(30, rel=1e-6)


def test_without_signal_there_is_no_upper_end() -> None:
    low, high = NoiseWindow([60.0, 61.0, 59.0, 60.0], [1.0, -1.0, 0.5, -0.6]).interval()
    assert high == math.inf
    assert 0 < low < 200
    assert NoiseWindow([60.0, 61.0], [1.0, 1.0]).interval() == (0.0, math.inf)  # two don't say
    assert NoiseWindow([60.0, 61.0, 62.0], [-1.0, -1.1, -0.9]).interval()[1] == math.inf


def test_a_level_out_of_range_is_said() -> None:
    with pytest.raises(ValueError, match="received level 95, expected a number between 0 and 1"):
        NoiseWindow().interval(95)
