"""The effective rank."""

import numpy as np
import pytest

from fisherscope import measures


def test_effective_rank_counts_equal_singular_values_and_weighs_unequal_ones():
    assert measures.effective_rank(np.array([9.0, 9.0, 9.0, 0.0, -1e-20])) == pytest.approx(3)
    shares = np.array([2.0, 1.0]) / 3
    assert measures.effective_rank(np.array([4.0, 1.0])) == pytest.approx(np.prod(shares**-shares))
