"""Growth between batch sizes and learning rates."""

from __future__ import annotations

import pytest

from fisherscope.policy.beacon.growth import BeaconGrowth


def test_growth_between_sizes_and_rates_is_on_the_line() -> None:
    growth = BeaconGrowth((8, 32), ((1.0, 3.0),), ((0.0, -2.0),))
    assert growth.at(0, 16) == pytest.approx((2.0, -1.0))
    assert growth.at(0, 4) == pytest.approx((0.0, 1.0))
