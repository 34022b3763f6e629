"""A parameter's uses brought together: those on the same elements joined, views of it put in their places."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor

from fisherscope.gram.columns import Columns, Dense, Outer, ProductOptions, Products, join_columns


@dataclass
class ParameterUse:
    """One use's columns, in the coordinates of a view of the leaf (`geometry`)."""

    columns: Columns
    geometry: Tensor
    entry: int = 0  # which forward of the model the use belongs to
    total: Tensor | None = None  # the columns' sum, where it is known already
    products: Products | None = None

    def multiply(self, arithmetic: ProductOptions) -> Products:
        """Form the products of the columns once, and their sum if it comes with them."""
        if self.products is None:
            self.products = self.columns.products(arithmetic)
            self.total = self.products.total if self.total is None else self.total
        return self.products

    def form_total(self, arithmetic: ProductOptions, multiply: bool) -> None:
        """Form the columns' sum, with the products if only this use needs them."""
        if multiply:
            self.multiply(arithmetic)
        if self.total is None:
            self.total = self.columns.total(arithmetic)


def share_of(columns: Columns, geometry: Tensor, entry: int, arithmetic: ProductOptions) -> ParameterUse:
    """Build a use from its columns; complex ones become pairs of real numbers."""
    if not columns.dtype.is_complex:
        return ParameterUse(columns, geometry, entry)
    gradients = columns.gradients if isinstance(columns, Dense) else columns.whole(arithmetic)
    shape, strides = tuple(geometry.shape), geometry.stride()
    pairs = torch.view_as_real(gradients.resolve_conj()).flatten(1)
    place = geometry.new_empty(0).as_strided(
        (*shape, 2), (*(2 * s for s in strides), 1), 2 * int(geometry.storage_offset())
    )
    return ParameterUse(Dense(pairs, (*shape, 2)), place, entry)


def _place(geometry: Tensor) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    return tuple(geometry.shape), tuple(geometry.stride()), int(geometry.storage_offset())


def is_whole(geometry: Tensor, leaf: Tensor) -> bool:
    """Whether a view holds the leaf's elements in the leaf's own order."""
    return _place(geometry) == (tuple(leaf.shape), tuple(leaf.stride()), 0)


def disjoint_uses(shares: list[ParameterUse], leaf: Tensor, arithmetic: ProductOptions) -> list[ParameterUse]:
    """Join the uses of the same elements, so that products of the rest may be added."""
    whole = [_upright(share, leaf) for share in shares]
    if len(whole) == 1:
        return whole
    by_place: dict[object, list[ParameterUse]] = defaultdict(list)
    for share in whole:
        by_place[_place(share.geometry)].append(share)
    groups = list(by_place.values())
    if len(groups) > 1 and not _disjoint([group[0].geometry for group in groups], leaf):
        return [on_leaf(shares, leaf, arithmetic)]
    out = []
    for group in groups:
        if len(group) == 1:
            out.append(group[0])
        else:
            out.append(ParameterUse(join_columns([share.columns for share in group]), group[0].geometry))
    return out


def _upright(share: ParameterUse, leaf: Tensor) -> ParameterUse:
    """Turn an outer product on the transposed leaf into one on the leaf."""
    columns, geometry = share.columns, share.geometry
    if isinstance(columns, Outer) and leaf.dim() == 2 and is_whole(geometry.mT, leaf):
        if geometry.shape == leaf.shape and geometry.stride() == leaf.stride():
            return share
        turned = ParameterUse(columns.transposed(), geometry.mT)
        if share.total is not None:
            turned.total = share.total.reshape(geometry.shape).mT.flatten()
        return turned
    return share


def _extent(leaf: Tensor) -> int:
    """Elements from the leaf's first to its last in storage."""
    return 1 + sum((size - 1) * stride for size, stride in zip(leaf.shape, leaf.stride(), strict=True))


def _disjoint(geometries: list[Tensor], leaf: Tensor) -> bool:
    """Whether no element of the leaf's storage lies in two of the views."""
    count = torch.zeros(_extent(leaf), dtype=torch.int8)
    for geometry in geometries:
        view = count.as_strided(geometry.shape, geometry.stride(), geometry.storage_offset())
        view += 1
    return int(count.max()) <= 1


def on_leaf(shares: list[ParameterUse], leaf: Tensor, arithmetic: ProductOptions) -> ParameterUse:
    """Add all uses in the leaf's own storage order, as n·p numbers."""
    total: Tensor | None = None
    for share in shares:
        dense = share.columns.whole(arithmetic)
        wide = dense.new_zeros(dense.shape[0], _extent(leaf))
        g = share.geometry
        view = wide.as_strided((len(wide), *g.shape), (_extent(leaf), *g.stride()), g.storage_offset())
        view += dense.reshape(len(dense), *g.shape)
        total = wide if total is None else total + wide
    assert total is not None
    return ParameterUse(Dense(total, (total.shape[1],)), torch.empty(total.shape[1], device="meta"))
