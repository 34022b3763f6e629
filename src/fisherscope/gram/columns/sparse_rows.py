"""Sparse gradients of a table: the rows that a sample looked up, and nothing of the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fisherscope.gram.columns.interface import Columns, ProductOptions, Products


class SparseRows(Columns):
    """Hold sparse gradients of a table: row index[i, t] receives values[i, t].

    Args:
        index: (n, t) integers; below 0 is padding and receives nothing.
        values: (n, t, q).
        shape: The table's shape, (r, q).

    Example:
        ```python
        import torch

        from fisherscope.gram.columns import ProductOptions, SparseRows

        index = torch.tensor([[0, 0], [2, -1]])
        columns, options = SparseRows(index, torch.ones(2, 2, 1), (4, 1)), ProductOptions()
        assert columns.total(options).tolist() == [2.0, 0.0, 1.0, 0.0]
        assert columns.products(options).gram.tolist() == [[4.0, 0.0], [0.0, 1.0]]
        assert columns.project_total(torch.ones(1, 1), options).tolist() == [[2.0, 0.0, 1.0, 0.0]]
        present, compact = columns.compact()
        assert present.tolist() == [0, 2]
        ```
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

    def total(self, options: ProductOptions) -> Tensor:
        values = (self.values * (self.index >= 0).unsqueeze(-1)).to(options.of(self.values)).flatten(0, 1)
        out = torch.zeros(self.size, dtype=values.dtype, device=self.device)
        return out.index_add_(0, self.index.clamp_min(0).flatten(), values).flatten()

    def project_total(self, directions: Tensor, options: ProductOptions) -> Tensor:
        """Multiply directions by the columns' transposed sum (q, r) without forming it.

        Args:
            directions: (k, q).
            options: The dtype of the product.

        Returns:
            (k, r), in the dtype of `options`.

        Cost: n·t·q·k multiplications.
        """
        dtype = options.of(self.values)
        values = directions.to(dtype) @ self.values.to(dtype).flatten(0, 1).T * (self.index >= 0).flatten()
        out = torch.zeros(len(directions), self.size[0], dtype=dtype, device=self.device)
        return out.index_add_(1, self.index.clamp_min(0).flatten(), values)

    def compact(self) -> tuple[Tensor, SparseRows]:
        """Restrict the columns to the table rows that occur.

        Returns:
            The rows, (rows present,) in ascending order, and the columns over those rows alone.

        Cost: sorts n·t indices; on a GPU it synchronises (the number of rows is data).
        """
        present, place = torch.unique(self.index.clamp_min(0), return_inverse=True)
        place = torch.where(self.index < 0, -1, place)
        return present, SparseRows(place, self.values, (len(present), *self.shape[1:]))

    def products(self, options: ProductOptions) -> Products:
        """Form the products over the rows that occur: n·(rows present)·q values."""
        present, compact = self.compact()
        inner = Columns.products(compact, options)
        assert inner.total is not None, "products of blocks give the sum"
        total = torch.zeros(self.size, dtype=inner.total.dtype, device=self.device)
        total[present] = inner.total.reshape(len(present), -1)
        return Products(inner.gram, total.flatten(), inner.error)
