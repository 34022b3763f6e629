"""A parameter's uses added up sample by sample, in the cheapest exact form."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fisherscope.gram.columns.interface import Columns, ProductOptions, Products
from fisherscope.gram.columns.outer import Outer
from fisherscope.gram.columns.sparse_rows import SparseRows


def join_columns(parts: Sequence[Columns]) -> Columns:
    """All uses of one parameter as one set of columns, in the cheapest exact form."""
    if len(parts) == 1:
        return parts[0]
    outers = [part for part in parts if isinstance(part, Outer)]
    tables = [part for part in parts if isinstance(part, SparseRows)]
    merged: list[Columns] = [p for p in parts if not isinstance(p, Outer | SparseRows)]
    outer = _along_positions(outers)
    table = _rows_along_positions(tables)
    if outer is not None and table is not None and len(outer.shape) == 2:
        merged.append(TiedColumns(outer, table))
    else:
        merged += [part for part in (outer, table) if part is not None]
    return merged[0] if len(merged) == 1 else Sum(merged)


def _along_positions(parts: Sequence[Outer]) -> Outer | None:
    if len(parts) < 2:
        return parts[0] if parts else None
    dtype = torch.promote_types(parts[0].dtype, parts[-1].dtype)
    left = torch.cat([part.left.to(dtype) for part in parts], dim=1)
    return Outer(left, torch.cat([part.right.to(dtype) for part in parts], dim=1), parts[0].shape)


def _rows_along_positions(parts: Sequence[SparseRows]) -> SparseRows | None:
    if len(parts) < 2:
        return parts[0] if parts else None
    index = torch.cat([part.index for part in parts], dim=1)
    return SparseRows(index, torch.cat([part.values for part in parts], dim=1), parts[0].shape)


class Sum(Columns):
    """Gradients that add up, sample by sample: a parameter used more than once."""

    def __init__(self, parts: Sequence[Columns]) -> None:
        self.parts = parts
        self.samples, self.shape = parts[0].samples, parts[0].shape
        self.dtype, self.device = parts[0].dtype, parts[0].device

    def row_bytes(self) -> int:
        return 2 * super().row_bytes()

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        total = self.parts[0].block(start, stop, dtype)
        for part in self.parts[1:]:
            total = total + part.block(start, stop, dtype)
        return total

    def nbytes(self) -> int:
        return sum(part.nbytes() for part in self.parts)

    def rounding_scale(self) -> Tensor | None:
        found = [reach for part in self.parts if (reach := part.rounding_scale()) is not None]
        return torch.stack(found).sum() if found else None


class TiedColumns(Columns):
    """A table used both as linear weight and as embedding: Outer + Rows."""

    def __init__(self, outer: Outer, rows: SparseRows) -> None:
        self.outer, self.rows = outer, rows
        self.samples, self.shape = outer.samples, outer.shape
        self.dtype, self.device = outer.dtype, outer.device

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        return self.outer.block(start, stop, dtype) + self.rows.block(start, stop, dtype)

    def nbytes(self) -> int:
        return self.outer.nbytes() + self.rows.nbytes()

    def rounding_scale(self) -> Tensor:
        return self.outer.rounding_scale()

    def products(self, arithmetic: ProductOptions) -> Products:
        """G = outer + rows + cross + crossᵀ, the cross term over the rows present alone."""
        present, compact = self.rows.compact()
        rows = compact.multiply(arithmetic, summed=False)  # sums are as large as the table, and not needed
        if self.outer.pairwise_is_cheaper(arithmetic):
            outer = self.outer.products(arithmetic)
        else:
            outer = self.outer.multiply(arithmetic, summed=False)
        gathered = Outer(self.outer.left[:, :, present], self.outer.right, compact.shape)
        cross = Columns.cross(gathered, compact, arithmetic)
        gram = outer.gram + rows.gram + cross + cross.T
        spread = (outer.gram.diagonal() * outer.error + rows.gram.diagonal() * rows.error) * 2
        error = spread / gram.diagonal().clamp_min(torch.finfo(torch.float64).tiny)
        return Products(gram, None, error)

    def total(self, arithmetic: ProductOptions) -> Tensor:
        return self.outer.total(arithmetic).add_(self.rows.total(arithmetic))

    def sketch(self, directions: Tensor, arithmetic: ProductOptions) -> Tensor:
        """Multiply directions by the sum, which is as large as the table and is not formed."""
        sketched = self.outer.sketch(directions, arithmetic)
        return sketched.add_(self.rows.sketch(directions, arithmetic))
