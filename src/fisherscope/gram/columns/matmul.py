"""Inner products of many long rows: what half the work, and float64 where it matters, make of a product."""

from __future__ import annotations

import torch
from torch import Tensor

# Products of this many terms are rounded once each; longer ones are added up in float64.
_SEGMENT = 8192
# Products of fewer terms take less time in one piece than by half the blocks.
_WIDE = 4096


def rounding(dtype: torch.dtype, terms: int) -> float:
    """Bound the relative error of an inner product of `terms` rounded terms."""
    blocked: float = 2.0 + min(terms, _SEGMENT) ** 0.5 / 16.0
    return torch.finfo(dtype).eps * blocked


def symmetric_product(matrix: Tensor) -> Tensor:
    """M Mᵀ in float64 from (n, k) M: upper blocks only, sums of segments in float64."""
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
    """L Rᵀ in float64 from (n, k) and (m, k), products in their dtype over segments of k."""
    k = left.shape[1]
    if k <= _SEGMENT:
        return (left @ right.T).double()
    gram = torch.zeros(left.shape[0], right.shape[0], dtype=torch.float64, device=left.device)
    for start in range(0, k, _SEGMENT):
        gram += left[:, start : start + _SEGMENT] @ right[:, start : start + _SEGMENT].T
    return gram


def rounding_scale(left: Tensor, right: Tensor, terms: int) -> Tensor:
    """`Columns.reach` of a sum of so many products of two factors."""
    sizes: Tensor = left.norm().double() * right.norm().double()
    return sizes.mul(terms**0.5)
