"""A parameter's uses added up sample by sample, in the cheapest exact form."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fisherscope.gram.columns.interface import Columns, ProductOptions, Products
from fisherscope.gram.columns.outer import Outer
from fisherscope.gram.columns.sparse_rows import SparseRows


def join_columns(uses: Sequence[Columns]) -> Columns:
    """Add up all uses of one parameter, sample by sample, in the cheapest exact form.

    Args:
        uses: Columns of the same parameter shape (r, q) and the same n samples, at least one.

    Returns:
        Columns of the sum: one `Outer`, one `SparseRows`, `TiedColumns`, or a `Sum`. Factors are
        concatenated along positions; no gradient is formed.

    Example:
        ```python
        import torch

        from fisherscope.gram.columns import Dense, ProductOptions, Sum, join_columns

        one, two = Dense(torch.ones(2, 3), (3,)), Dense(torch.full((2, 3), 4.0), (3,))
        both = join_columns([one, two])
        assert isinstance(both, Sum)
        assert both.total(ProductOptions()).tolist() == [10.0, 10.0, 10.0]
        ```
    """
    if len(uses) == 1:
        return uses[0]
    sums: list[Columns] = [use for use in uses if not isinstance(use, Outer | SparseRows)]
    outer = _concatenate_outers([use for use in uses if isinstance(use, Outer)])
    table = _concatenate_rows([use for use in uses if isinstance(use, SparseRows)])
    if outer is not None and table is not None and len(outer.shape) == 2:
        sums.append(TiedColumns(outer, table))
    else:
        sums += [columns for columns in (outer, table) if columns is not None]
    return sums[0] if len(sums) == 1 else Sum(sums)


def _concatenate_outers(uses: Sequence[Outer]) -> Outer | None:
    if len(uses) < 2:
        return uses[0] if uses else None
    dtype = torch.promote_types(uses[0].dtype, uses[-1].dtype)
    left = torch.cat([use.left.to(dtype) for use in uses], dim=1)
    return Outer(left, torch.cat([use.right.to(dtype) for use in uses], dim=1), uses[0].shape)


def _concatenate_rows(uses: Sequence[SparseRows]) -> SparseRows | None:
    if len(uses) < 2:
        return uses[0] if uses else None
    index = torch.cat([use.index for use in uses], dim=1)
    return SparseRows(index, torch.cat([use.values for use in uses], dim=1), uses[0].shape)


class Sum(Columns):
    """Gradients that add up, sample by sample: a parameter used more than once.

    Args:
        terms: Columns of the same samples and parameter shape, at least one; see `join_columns`.
    """

    def __init__(self, terms: Sequence[Columns]) -> None:
        self.terms = terms
        self.samples, self.shape = terms[0].samples, terms[0].shape
        self.dtype, self.device = terms[0].dtype, terms[0].device

    def row_bytes(self) -> int:
        return 2 * super().row_bytes()

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        total = self.terms[0].block(start, stop, dtype)
        for term in self.terms[1:]:
            total = total + term.block(start, stop, dtype)
        return total

    def nbytes(self) -> int:
        return sum(term.nbytes() for term in self.terms)

    def rounding_scale(self) -> Tensor | None:
        scales = [scale for term in self.terms if (scale := term.rounding_scale()) is not None]
        return torch.stack(scales).sum() if scales else None


class TiedColumns(Columns):
    """A table used both as linear weight and as embedding (weight tying): Outer + SparseRows.

    Args:
        outer: Of the linear use, parameter shape (r, q).
        rows: Of the embedding use, same parameter shape and samples; see `join_columns`.
    """

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

    def products(self, options: ProductOptions) -> Products:
        """G = outer + rows + cross + crossᵀ, the cross term over the rows present alone."""
        present, compact = self.rows.compact()
        rows = compact.multiply(options, summed=False)  # sums are as large as the table, and not needed
        if self.outer.pairwise_is_cheaper(options):
            outer = self.outer.products(options)
        else:
            outer = self.outer.multiply(options, summed=False)
        outer_rows = Outer(self.outer.left[:, :, present], self.outer.right, compact.shape)
        cross = Columns.cross(outer_rows, compact, options)
        gram = outer.gram + rows.gram + cross + cross.T
        error_sum = (outer.gram.diagonal() * outer.error + rows.gram.diagonal() * rows.error) * 2
        error = error_sum / gram.diagonal().clamp_min(torch.finfo(torch.float64).tiny)
        return Products(gram, None, error)

    def total(self, options: ProductOptions) -> Tensor:
        return self.outer.total(options).add_(self.rows.total(options))

    def project_total(self, directions: Tensor, options: ProductOptions) -> Tensor:
        """Multiply directions by the transposed sum without forming it.

        Args:
            directions: (k, q), any floating dtype; see `Outer.project_total`.
            options: The dtype of the product.

        Returns:
            (k, r).
        """
        projection = self.outer.project_total(directions, options)
        return projection.add_(self.rows.project_total(directions, options))
