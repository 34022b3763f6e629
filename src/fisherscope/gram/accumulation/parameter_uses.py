"""The uses of one parameter: those of the same elements are joined, views are mapped to the parameter."""

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

    def multiply(self, options: ProductOptions) -> Products:
        """Form the products of the columns once, and their sum if it comes with them."""
        if self.products is None:
            self.products = self.columns.products(options)
            self.total = self.products.total if self.total is None else self.total
        return self.products

    def form_total(self, options: ProductOptions, multiply: bool) -> None:
        """Form the columns' sum, with the products if only this use needs them."""
        if multiply:
            self.multiply(options)
        if self.total is None:
            self.total = self.columns.total(options)


def build_use(columns: Columns, geometry: Tensor, entry: int, options: ProductOptions) -> ParameterUse:
    """Build a use from its columns; complex ones become pairs of real numbers."""
    if not columns.dtype.is_complex:
        return ParameterUse(columns, geometry, entry)
    gradients = columns.gradients if isinstance(columns, Dense) else columns.matrix(options)
    shape, strides = tuple(geometry.shape), geometry.stride()
    pairs = torch.view_as_real(gradients.resolve_conj()).flatten(1)
    real_geometry = geometry.new_empty(0).as_strided(
        (*shape, 2), (*(2 * s for s in strides), 1), 2 * int(geometry.storage_offset())
    )
    return ParameterUse(Dense(pairs, (*shape, 2)), real_geometry, entry)


def _layout_key(geometry: Tensor) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    return tuple(geometry.shape), tuple(geometry.stride()), int(geometry.storage_offset())


def covers_leaf(geometry: Tensor, leaf: Tensor) -> bool:
    """Whether a view holds the leaf's elements in the leaf's own order."""
    return _layout_key(geometry) == (tuple(leaf.shape), tuple(leaf.stride()), 0)


def disjoint_uses(uses: list[ParameterUse], leaf: Tensor, options: ProductOptions) -> list[ParameterUse]:
    """Join the uses of the same elements, so that products of the rest may be added."""
    uses = [_untranspose(use, leaf) for use in uses]
    if len(uses) == 1:
        return uses
    by_layout: dict[object, list[ParameterUse]] = defaultdict(list)
    for use in uses:
        by_layout[_layout_key(use.geometry)].append(use)
    groups = list(by_layout.values())
    if len(groups) > 1 and not _disjoint([group[0].geometry for group in groups], leaf):
        return [on_leaf(uses, leaf, options)]
    out = []
    for group in groups:
        if len(group) == 1:
            out.append(group[0])
        else:
            out.append(ParameterUse(join_columns([use.columns for use in group]), group[0].geometry))
    return out


def _untranspose(use: ParameterUse, leaf: Tensor) -> ParameterUse:
    """Turn an outer product on the transposed leaf into one on the leaf."""
    columns, geometry = use.columns, use.geometry
    if not isinstance(columns, Outer) or leaf.dim() != 2:
        return use
    if geometry.shape == leaf.shape and geometry.stride() == leaf.stride():
        return use
    if covers_leaf(geometry.mT, leaf):
        transposed = ParameterUse(columns.transpose(), geometry.mT)
        if use.total is not None:
            transposed.total = use.total.reshape(geometry.shape).mT.flatten()
        return transposed
    return use


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


def on_leaf(uses: list[ParameterUse], leaf: Tensor, options: ProductOptions) -> ParameterUse:
    """Add all uses in the leaf's own storage order, as n·p numbers."""
    total: Tensor | None = None
    for use in uses:
        dense = use.columns.matrix(options)
        wide = dense.new_zeros(dense.shape[0], _extent(leaf))
        g = use.geometry
        view = wide.as_strided((len(wide), *g.shape), (_extent(leaf), *g.stride()), g.storage_offset())
        view += dense.reshape(len(dense), *g.shape)
        total = wide if total is None else total + wide
    assert total is not None
    return ParameterUse(Dense(total, (total.shape[1],)), torch.empty(total.shape[1], device="meta"))
