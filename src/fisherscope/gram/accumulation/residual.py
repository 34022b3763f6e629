"""The check of every measurement: do the columns add up to the gradient that arrives?"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from fisherscope.gram.accumulation.parameter_uses import ParameterUse, covers_leaf
from fisherscope.gram.columns import Outer, ProductOptions, TiedColumns

TOLERATED_ROUNDINGS = 256
"""Accepted distance of the columns' sum from the gradient, in rounding errors of the backward pass."""
_DIRECTIONS = 4
"""Random directions along which a sum that was never formed is compared (Freivalds 1977)."""


def sum_error(uses: list[ParameterUse], gradient: Tensor, leaf: Tensor, options: ProductOptions) -> Tensor:
    """Measure |Σ columns − gradient| over the leaf's elements.

    Where the only columns are outer products whose sum was not needed, an unbiased estimate of its square
    from their products with random signs: exact for one wrong element, and zero only with all of them right
    but for a set of matrices of measure zero.

    Returns:
        A scalar on the device.
    """
    gradient = gradient.to_dense() if gradient.is_sparse else gradient
    only = uses[0]
    if (
        len(uses) == 1
        and only.total is None
        and isinstance(only.columns, Outer | TiedColumns)
        and covers_leaf(only.geometry, leaf)
    ):
        return _estimate_error(only.columns, gradient, options)
    for use in uses:
        use.form_total(options, multiply=False)
    assert only.total is not None, "formed in the line before"
    if (
        only.total.data_ptr() == gradient.data_ptr() and only.total.shape == gradient.shape
    ):  # fused: one and the same
        return torch.zeros((), dtype=torch.float64, device=gradient.device)
    if len(uses) == 1 and covers_leaf(only.geometry, leaf):
        return _length(gradient - only.total.reshape(leaf.shape))
    rest = torch.empty_strided(
        leaf.shape,
        leaf.stride(),
        dtype=torch.promote_types(gradient.dtype, torch.float32),
        device=gradient.device,
    )
    rest.copy_(gradient)
    for use in uses:
        assert use.total is not None, "formed above"
        g = use.geometry
        view = rest.as_strided(g.shape, g.stride(), g.storage_offset())
        view -= use.total.reshape(g.shape)
    return _length(rest)


def _length(difference: Tensor) -> Tensor:
    size: Tensor = torch.linalg.vector_norm(difference)
    return size.double()


def rounding_scale(
    uses: list[ParameterUse], difference: Tensor, squares: tuple[Tensor, ...], leaf: Tensor
) -> Tensor:
    """Estimate the size that the rounding errors of the sums are relative to.

    Args:
        uses: The parameter's uses, with their columns.
        difference: |Σ columns − gradient|, from `sum_error`.
        squares: Estimates of the gradient's squared length; the scale is 0 if one explains the difference.
        leaf: The parameter.

    A kernel that adds n·t products one after another is off by up to about eps·sqrt(n·t)·Σ|terms|: gradients
    of a convolution over images with an even background were seen 3e-4 away from exact ones in float32.

    Returns:
        A scalar on the device.
    """
    eps = torch.finfo(leaf.dtype).eps
    if not difference.is_cuda:
        explaining = float(difference) / (TOLERATED_ROUNDINGS * eps)  # a gradient as long as this explains it
        if explaining == 0 or any(explaining**2 <= float(square) for square in squares):
            return torch.zeros_like(difference)
    scales = [scale for use in uses if (scale := use.columns.rounding_scale()) is not None]
    return torch.stack(scales).sum() if scales else torch.zeros_like(difference)


def _estimate_error(columns: Outer | TiedColumns, gradient: Tensor, options: ProductOptions) -> Tensor:
    signs = _signs(columns.size[1], gradient.device)
    dtype = (
        options.of(columns.left)
        if isinstance(columns, Outer)
        else options.of(torch.empty(0, dtype=columns.dtype))
    )
    matrix = gradient.reshape(columns.size).to(dtype)
    difference = signs.to(dtype) @ matrix.T - columns.project_total(signs, options)
    return _length(difference).div(_DIRECTIONS**0.5)


@cache
def _signs(length: int, device: torch.device) -> Tensor:
    """Return (directions, length) of ±1, the same each time: no random number is drawn."""
    own = torch.Generator().manual_seed(length)
    return (torch.randint(0, 2, (_DIRECTIONS, length), generator=own) * 2 - 1).float().to(device)
