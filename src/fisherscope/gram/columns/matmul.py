"""Inner products of long rows: half of the work by symmetry, sums in float64."""

from __future__ import annotations

import torch
from torch import Tensor

# Products of this many terms are rounded once each; longer ones are added up in float64.
_SEGMENT = 8192
# Products of fewer terms take less time in one piece than by half the blocks.
_WIDE = 4096


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
    return torch.finfo(dtype).eps * blocked


def symmetric_product(matrix: Tensor) -> Tensor:
    """Multiply M Mᵀ: upper blocks only, products in M's dtype, sums of segments in float64.

    Args:
        matrix: M, (n, k), floating.

    Returns:
        (n, n) float64, symmetric, on M's device.

    Cost: n²·k/2 multiplications for long rows, n²·k else; no synchronisation.

    Example:
        ```python
        import torch

        from fisherscope.gram.columns import symmetric_product

        assert symmetric_product(torch.tensor([[1.0, 2.0]])).tolist() == [[5.0]]
        ```
    """
    n, k = matrix.shape
    if n < 64 or k < _WIDE or matrix.is_cuda:
        return segmented_product(matrix, matrix)
    step = -(-n // 4) if n >= 128 else -(-n // 2)
    gram = torch.empty(n, n, dtype=torch.float64, device=matrix.device)
    for start in range(0, n, step):
        stop = min(start + step, n)
        rows = segmented_product(matrix[start:stop], matrix[start:])
        gram[start:stop, start:] = rows
        gram[start:, start:stop] = rows.T
    return gram


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
