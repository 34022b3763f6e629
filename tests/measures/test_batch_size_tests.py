"""The norm test of a draw without replacement."""

import pytest
from tests.cases.sample_gradients import CANCELLATION, batch
from tests.oracles import measures as oracle

from fisherscope import measures


def test_norm_test_of_a_draw_without_replacement():
    gradients = batch(6)
    read = measures.norm_test(measures.Gradients(oracle.gram(gradients), population=10))
    assert read == pytest.approx(oracle.norm_test(gradients, population=10), rel=CANCELLATION)
