"""The interval of a share."""

from __future__ import annotations

import numpy as np
import pytest

from fisherscope.analysis.stats.hypothesis_tests import share_deviation, share_interval


def test_a_share_s_interval_covers_as_it_says() -> None:
    """Of 500 samples at 3 %: 80 % intervals of 4000 draws, within five standard errors of 80 %."""
    drawn = np.random.default_rng(0).binomial(500, 0.03, 4000) / 500
    inside = [low <= 0.03 <= high for low, high in (share_interval(v, 500) for v in drawn)]
    assert np.mean(inside) == pytest.approx(0.8, abs=0.03 + 5 * np.sqrt(0.16 / 4000))
    assert share_deviation(0.03, 500) == pytest.approx(drawn.std(), rel=0.05)
    assert share_interval(0.0, 500)[0] == 0.0
    assert share_deviation(0.0, 500) > 0
