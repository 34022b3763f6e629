"""Sparse gradients of a table: the rows that a sample looked up, and nothing of the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fisherscope.gram.columns.interface import Columns, ProductOptions, Products


class SparseRows(Columns):
    """Sparse gradients of a table: row index[i, t] receives values[i, t].

    An index below 0 is padding and receives nothing.
    """

    def __init__(self, index: Tensor, values: Tensor, shape: Sequence[int]) -> None:
        self.index, self.values = index, values
        self.samples, self.shape = index.shape[0], torch.Size(shape)
        self.dtype, self.device = values.dtype, values.device

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        inside = (self.index >= start) & (self.index < stop)
        place = torch.where(inside, self.index - start, 0)
        values = self.values.to(dtype) * inside.unsqueeze(-1)
        out = torch.zeros(self.samples, stop - start, values.shape[-1], dtype=dtype, device=self.device)
        return out.scatter_add_(1, place.unsqueeze(-1).expand_as(values), values)

    def nbytes(self) -> int:
        return self.index.nbytes + self.values.nbytes

    def total(self, arithmetic: ProductOptions) -> Tensor:
        values = (self.values * (self.index >= 0).unsqueeze(-1)).to(arithmetic.of(self.values)).flatten(0, 1)
        out = torch.zeros(self.size, dtype=values.dtype, device=self.device)
        return out.index_add_(0, self.index.clamp_min(0).flatten(), values).flatten()

    def sketch(self, directions: Tensor, arithmetic: ProductOptions) -> Tensor:
        """(k, q) directions times the transposed sum, (k, r)."""
        dtype = arithmetic.of(self.values)
        values = directions.to(dtype) @ self.values.to(dtype).flatten(0, 1).T * (self.index >= 0).flatten()
        out = torch.zeros(len(directions), self.size[0], dtype=dtype, device=self.device)
        return out.index_add_(1, self.index.clamp_min(0).flatten(), values)

    def compact(self) -> tuple[Tensor, SparseRows]:
        """Return the table rows that occur, and the same columns over those rows alone."""
        present, place = torch.unique(self.index.clamp_min(0), return_inverse=True)
        place = torch.where(self.index < 0, -1, place)
        return present, SparseRows(place, self.values, (len(present), *self.shape[1:]))

    def products(self, arithmetic: ProductOptions) -> Products:
        """As the contract, over the rows that occur: n·(rows present)·q values in place of n·p."""
        present, compact = self.compact()
        inner = Columns.products(compact, arithmetic)
        assert inner.total is not None, "products of blocks give the sum"
        total = torch.zeros(self.size, dtype=inner.total.dtype, device=self.device)
        total[present] = inner.total.reshape(len(present), -1)
        return Products(inner.gram, total.flatten(), inner.error)
