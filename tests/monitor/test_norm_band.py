"""The band of the gradient's norm."""

from __future__ import annotations

import math

import pytest

from fisherscope.monitor.spikes.norm_band import LEAST, LENGTH, NormBand


def test_the_band_is_a_median_and_a_robust_deviation():
    band = NormBand()
    for k in range(200):
        band.add(math.exp(0.1 * (-1) ** k))
    assert len(band.logs) == LENGTH
    assert band.usual == pytest.approx(1.0)
    assert band.limit == pytest.approx(math.exp(6 * 1.4826 * 0.1))


def test_before_twenty_steps_only_a_norm_that_is_not_finite_is_a_spike():
    band = NormBand()
    for _ in range(LEAST - 1):
        band.add(1.0)
        assert not band.is_spike(1e9)
        assert band.is_spike(math.nan)
    band.add(1.0)
    assert band.is_spike(1.6)
    assert not band.is_spike(1.4)


def test_a_few_spikes_do_not_widen_the_band_and_zeros_are_left_out():
    band = NormBand()
    for k in range(50):
        band.add(1000.0 if k % 10 == 0 else 1.0 + 0.01 * (k % 3))
        band.add(0.0)
    assert len(band.logs) == 50
    assert band.limit == pytest.approx(1.5 * band.usual)
