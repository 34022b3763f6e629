"""The check of every measurement: do the columns add up to the gradient that arrives?"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from fisherscope.gram.accumulation.parameter_uses import ParameterUse, is_whole
from fisherscope.gram.columns import Outer, ProductOptions, TiedColumns

TOLERATED_ROUNDINGS = 256
"""How far the columns' sum may lie from the gradient, in roundings of the backward pass, unexplained."""
_DIRECTIONS = 4
"""Random directions along which a sum that was never formed is compared (Freivalds 1977)."""


def sum_error(
    shares: list[ParameterUse], gradient: Tensor, leaf: Tensor, arithmetic: ProductOptions
) -> Tensor:
    """Measure |Σ columns − gradient| over the leaf's elements.

    Where the only columns are outer products whose sum was not needed, an unbiased estimate of its square
    from their products with random signs: exact for one wrong element, and zero only with all of them right
    but for a set of matrices of measure zero.

    Returns:
        A scalar on the device.
    """
    gradient = gradient.to_dense() if gradient.is_sparse else gradient
    only = shares[0]
    if (
        len(shares) == 1
        and only.total is None
        and isinstance(only.columns, Outer | TiedColumns)
        and is_whole(only.geometry, leaf)
    ):
        return _estimate_error(only.columns, gradient, arithmetic)
    for share in shares:
        share.form_total(arithmetic, multiply=False)
    assert only.total is not None, "formed in the line before"
    if (
        only.total.data_ptr() == gradient.data_ptr() and only.total.shape == gradient.shape
    ):  # fused: one and the same
        return torch.zeros((), dtype=torch.float64, device=gradient.device)
    if len(shares) == 1 and is_whole(only.geometry, leaf):
        return _length(gradient - only.total.reshape(leaf.shape))
    rest = torch.empty_strided(
        leaf.shape,
        leaf.stride(),
        dtype=torch.promote_types(gradient.dtype, torch.float32),
        device=gradient.device,
    )
    rest.copy_(gradient)
    for share in shares:
        assert share.total is not None, "formed above"
        g = share.geometry
        view = rest.as_strided(g.shape, g.stride(), g.storage_offset())
        view -= share.total.reshape(g.shape)
    return _length(rest)


def _length(difference: Tensor) -> Tensor:
    size: Tensor = torch.linalg.vector_norm(difference)
    return size.double()


def rounding_scale(
    shares: list[ParameterUse], missed: Tensor, squares: tuple[Tensor, ...], leaf: Tensor
) -> Tensor:
    """Estimate what the rounding of the sums themselves is relative to.

    Args:
        shares: The columns.
        missed: By how much their sum misses the gradient.
        squares: What may stand for the gradient's squared length: any of them that explains the miss will do.
        leaf: The parameter.

    A kernel that adds n·t products one after another is off by up to about eps·sqrt(n·t)·Σ|terms|: gradients
    of a convolution over images with an even background were seen 3e-4 away from exact ones in float32.

    Returns:
        A scalar on the device.
    """
    eps = torch.finfo(leaf.dtype).eps
    if not missed.is_cuda:
        wrong = float(missed) / (TOLERATED_ROUNDINGS * eps)
        if wrong == 0 or any(wrong**2 <= float(square) for square in squares):
            return torch.zeros_like(missed)
    found = [size for share in shares if (size := share.columns.rounding_scale()) is not None]
    return torch.stack(found).sum() if found else torch.zeros_like(missed)


def _estimate_error(columns: Outer | TiedColumns, gradient: Tensor, arithmetic: ProductOptions) -> Tensor:
    signs = _signs(columns.size[1], gradient.device)
    dtype = arithmetic.of(torch.empty(0, dtype=columns.dtype))
    matrix = gradient.reshape(columns.size).to(dtype)
    missed = signs.to(dtype) @ matrix.T - columns.sketch(signs, arithmetic)
    return _length(missed).div(_DIRECTIONS**0.5)


@cache
def _signs(length: int, device: torch.device) -> Tensor:
    """Return (directions, length) of ±1, the same each time: no random number is drawn."""
    own = torch.Generator().manual_seed(length)
    return (torch.randint(0, 2, (_DIRECTIONS, length), generator=own) * 2 - 1).float().to(device)
