"""Columns of which every number is multiplied by a factor of its coordinate."""

from __future__ import annotations

import torch
from torch import Tensor

from fisherscope.gram.columns import Columns, Dense, Outer, ProductOptions, SparseRows, Sum, TiedColumns


class ScaledColumns(Columns):
    """Multiply each sample's gradient by a factor for each coordinate, block by block.

    Args:
        inner: The columns.
        factors: (r, q) as `inner.size`, floating dtype.
    """

    def __init__(self, inner: Columns, factors: Tensor) -> None:
        self.inner, self.factors = inner, factors
        self.samples, self.shape = inner.samples, inner.shape
        self.dtype, self.device = inner.dtype, inner.device

    def row_bytes(self) -> int:
        return 2 * self.inner.row_bytes()

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        return self.inner.block(start, stop, dtype) * self.factors[start:stop].to(dtype)

    def nbytes(self) -> int:
        return self.inner.nbytes() + self.factors.nbytes


def scale_columns(columns: Columns, factors: Tensor) -> Columns:
    """Multiply columns by a factor for each coordinate.

    Args:
        columns: The columns.
        factors: (r, q) as `columns.size`.

    Returns:
        The scaled columns; those of a table are scaled where they are looked up, n·t·q numbers.
    """
    if isinstance(columns, SparseRows):
        values = columns.values * factors[columns.index.clamp_min(0)].to(columns.dtype)
        return SparseRows(columns.index, values, columns.shape)
    return ScaledColumns(columns, factors)


def scale_by_rows_and_columns(columns: Columns, rows: Tensor, across: Tensor) -> Columns:
    """Multiply columns by rows[i]·across[j], keeping the form of outer products and tables.

    Args:
        columns: The columns, of size (r, q).
        rows: (r,).
        across: (q,).

    Returns:
        The scaled columns: an `Outer` stays one, so its products cost what they did.
    """
    if isinstance(columns, Outer):
        left, right = columns.left * rows.to(columns.dtype), columns.right * across.to(columns.dtype)
        return Outer(left, right, columns.shape)
    if isinstance(columns, SparseRows):
        weights = rows[columns.index.clamp_min(0)].to(columns.dtype).unsqueeze(-1)
        return SparseRows(columns.index, columns.values * weights * across.to(columns.dtype), columns.shape)
    if isinstance(columns, TiedColumns):
        outer = scale_by_rows_and_columns(columns.outer, rows, across)
        table = scale_by_rows_and_columns(columns.rows, rows, across)
        assert isinstance(outer, Outer), "as it was"
        assert isinstance(table, SparseRows), "as it was"
        return TiedColumns(outer, table)
    if isinstance(columns, Sum):
        return Sum([scale_by_rows_and_columns(term, rows, across) for term in columns.terms])
    return ScaledColumns(columns, rows[:, None] * across[None, :])


def as_parameter(columns: Columns, parameter: Tensor, options: ProductOptions) -> Columns:
    """Return columns in the parameter's logical order, where they are in that of its storage.

    Args:
        columns: Of one parameter: of its shape, or flat over its storage.
        parameter: The parameter.
        options: The dtype of what has to be formed.

    Returns:
        Columns whose `shape` is the parameter's.
    """
    if columns.shape == parameter.shape:
        return columns
    matrix = columns.matrix(options)
    if columns.shape.numel() != parameter.numel() or not parameter.is_contiguous():
        extent = matrix.shape[1]
        strided = matrix.contiguous().as_strided(
            (len(matrix), *parameter.shape), (extent, *parameter.stride())
        )
        matrix = strided.reshape(len(matrix), -1)
    return Dense(matrix, parameter.shape)
