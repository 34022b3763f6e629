"""Inner products of long rows: half of the work by symmetry, sums in float64."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

# Products of this many terms are rounded once each; longer ones are added up in float64.
_SEGMENT = 8192
# Bands by which half of the products are left out, from so many products in one piece on: in few, the
# additional calls and copies take longer than what they leave out.
_BANDS = ((14e6, 4), (6e6, 2))
_LONG = 256
"""Numbers of a row from which on its products weigh more than the copies of the result."""


@cache
def _eps(dtype: torch.dtype) -> float:
    return float(torch.finfo(dtype).eps)


def rounding(dtype: torch.dtype, terms: int) -> float:
    """Bound the relative error of an inner product as `symmetric_product` forms it.

    Args:
        dtype: Floating dtype of the factors.
        terms: Number of products that are added up.

    Returns:
        eps times the growth of blocked summation, as used in `GramRecord.entry_error`.

    Example:
        ```python
        import torch

        from fisherscope.gram.columns import rounding

        assert rounding(torch.float64, 100) < 1e-12 < rounding(torch.float32, 100) < 1e-5
        ```
    """
    blocked: float = 2.0 + min(terms, _SEGMENT) ** 0.5 / 16.0
    return _eps(dtype) * blocked


def symmetric_product(matrix: Tensor) -> Tensor:
    """Multiply M Mᵀ: upper bands only, products in M's dtype, sums of segments in float64.

    Args:
        matrix: M, (n, k), floating.

    Returns:
        (n, n) float64, symmetric, on M's device.

    Cost: n²·k multiplications; of long rows, 3/4 of these from 6 million on, 5/8 from 14 million on. No
    synchronisation.

    Example:
        ```python
        import torch

        from fisherscope.gram.columns import symmetric_product

        assert symmetric_product(torch.tensor([[1.0, 2.0]])).tolist() == [[5.0]]
        ```
    """
    n, k = matrix.shape
    if n < 64 or k < _LONG or n * n * k < _BANDS[-1][0] or matrix.is_cuda:
        return segmented_product(matrix, matrix)
    bands = next(bands for work, bands in _BANDS if n * n * k >= work)
    step = -(-n // bands)
    segments = k > _SEGMENT
    gram = matrix.new_empty(n, n, dtype=torch.float64 if segments else matrix.dtype)
    for start in range(0, n, step):
        stop = min(start + step, n)
        rows = gram[start:stop, start:]
        if segments:
            rows.copy_(segmented_product(matrix[start:stop], matrix[start:]))
        else:
            torch.mm(matrix[start:stop], matrix[start:].T, out=rows)
        if stop < n:
            gram[stop:, start:stop] = rows[:, stop - start :].T
    return gram.double()


def segmented_product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply (n, k) L by the transpose of (m, k) R: (n, m) float64, summed over segments of k."""
    k = left.shape[1]
    if k <= _SEGMENT:
        return (left @ right.T).double()
    gram = torch.zeros(left.shape[0], right.shape[0], dtype=torch.float64, device=left.device)
    for start in range(0, k, _SEGMENT):
        gram += left[:, start : start + _SEGMENT] @ right[:, start : start + _SEGMENT].T
    return gram


def rounding_scale(left: Tensor, right: Tensor, terms: int) -> Tensor:
    """Return `Columns.rounding_scale` of a sum of `terms` products of two factors."""
    sizes: Tensor = left.norm().double() * right.norm().double()
    return sizes.mul(terms**0.5)
