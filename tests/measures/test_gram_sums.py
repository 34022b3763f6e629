"""Grams of a wrong shape or population."""

import numpy as np
import pytest

from fisherscope import measures


def test_a_gram_of_the_wrong_shape_or_population_is_refused():
    with pytest.raises(ValueError, match=r"expected shape \(B, B\).*received \(2, 3\)"):
        measures.Gradients(np.ones((2, 3)))
    with pytest.raises(ValueError, match="population=3 is below the batch size 4"):
        measures.Gradients(np.ones((4, 4)), population=3)
