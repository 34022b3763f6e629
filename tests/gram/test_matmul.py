"""Products of a matrix with itself, whatever part of them is computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fisherscope.gram.columns import symmetric_product
from fisherscope.gram.columns.matmul import rounding


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("rows", "terms"),
    [(1, 3), (63, 2000), (64, 1400), (65, 1500), (97, 9000), (128, 500), (130, 1024), (203, 250), (257, 300)],
)
def test_a_matrix_by_itself_in_bands(rows: int, terms: int, dtype: torch.dtype) -> None:
    """Few rows and many, of few terms and several segments: a few roundings in each half."""
    matrix = torch.randn(rows, terms, dtype=torch.float64, generator=torch.Generator().manual_seed(rows))
    matrix = matrix.to(dtype)
    wide = matrix.numpy().astype(np.longdouble)
    exact = wide @ wide.T
    lengths = np.sqrt(exact.diagonal())
    found = symmetric_product(matrix)
    assert found.dtype == torch.float64
    assert (abs(found.numpy() - exact) / np.outer(lengths, lengths)).max() < 8 * rounding(dtype, terms)
