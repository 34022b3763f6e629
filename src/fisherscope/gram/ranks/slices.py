"""One parameter's products over all ranks: exchange slices of gradients, or their factors, by bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fisherscope.gram.columns import Columns, Outer, ProductOptions, SparseRows, TiedColumns
from fisherscope.gram.ranks.process_group import Ranks


@dataclass(frozen=True)
class Exchange:
    """How one parameter's columns reach the ranks that multiply them.

    Args:
        shape: Of the parameter.
        dtype: In which its products are formed.
        form: "slices", or the class of columns whose factors are gathered.
        positions: Positions of a sample in its factors, the most of any rank; (outer, rows) for a tied table.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    form: str
    positions: tuple[int, ...]
    bytes_sent: int


@dataclass(frozen=True)
class ColumnsLayout:
    """What a rank says about a parameter's columns before they are exchanged."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    form: str
    positions: tuple[int, ...]

    @classmethod
    def of(cls, parts: Sequence[Columns | None], options: ProductOptions) -> ColumnsLayout:
        """Describe the columns of one parameter, one part a backward pass; None where a pass lacks them."""
        present = [part for part in parts if part is not None]
        first = present[0]
        dtype = options.of(torch.empty(0, dtype=first.dtype))
        shape = tuple(first.shape)
        kinds = {type(part) for part in parts}
        if kinds == {Outer} and len(shape) == 2:
            return cls(shape, dtype, "outer", (max(_outer(part).positions for part in present),))
        if kinds == {SparseRows}:
            return cls(shape, dtype, "rows", (max(_rows(part).index.shape[1] for part in present),))
        if kinds == {TiedColumns}:
            positions = (
                max(_as_tied(part).outer.positions for part in present),
                max(_as_tied(part).rows.index.shape[1] for part in present),
            )
            return cls(shape, dtype, "tied", positions)
        return cls(shape, dtype, "slices", ())


def _outer(part: Columns | None) -> Outer:
    assert isinstance(part, Outer)
    return part


def _rows(part: Columns | None) -> SparseRows:
    assert isinstance(part, SparseRows)
    return part


def _as_tied(part: Columns | None) -> TiedColumns:
    assert isinstance(part, TiedColumns)
    return part


def mismatch(layouts: Sequence[ColumnsLayout | None]) -> str | None:
    """Say why the ranks' columns of one parameter can't be exchanged; None where they can."""
    kinds = {f"{layout.shape} {layout.dtype}" for layout in layouts if layout is not None}
    return None if len(kinds) == 1 else f"the ranks hold it in other shapes or dtypes: {sorted(kinds)}"


def plan(layouts: Sequence[ColumnsLayout | None], counts: Sequence[int]) -> Exchange:
    """Choose the cheaper exchange of one parameter by the bytes that the ranks send.

    Slices cost each rank n·P numbers in all, whatever the number of ranks; factors T·(r + q) numbers a sample
    and other rank.

    Args:
        layouts: What each rank holds of it; None where a rank has no gradient for it.
        counts: Samples of each rank.

    Returns:
        The exchange, the same on every rank.
    """
    present = [layout for layout in layouts if layout is not None]
    shape, dtype = present[0].shape, present[0].dtype
    ranks, largest = len(counts), max(counts)
    numbers = torch.Size(shape).numel()
    sliced = largest * numbers * dtype.itemsize * (ranks - 1) // ranks
    forms = {layout.form for layout in present}
    if len(forms) > 1 or forms == {"slices"}:
        return Exchange(shape, dtype, "slices", (), sliced)
    form = forms.pop()
    positions = tuple(
        max(layout.positions[k] for layout in present) for k in range(len(present[0].positions))
    )
    rows, width = shape[0], torch.Size(shape[1:]).numel()
    numbers_each = {"outer": rows + width, "rows": 2 + width, "tied": rows + width}[form] * positions[0]
    if form == "tied":
        numbers_each += (2 + width) * positions[1]
    gathered = largest * numbers_each * dtype.itemsize * (ranks - 1)
    if gathered < sliced:
        return Exchange(shape, dtype, form, positions, gathered)
    return Exchange(shape, dtype, "slices", (), sliced)


def joint_columns(
    ranks: Ranks, exchange: Exchange, parts: Sequence[Columns], counts: list[int]
) -> Columns | None:
    """Gather the factors of all samples, and keep this rank's rows of the parameter.

    Returns:
        Columns of all samples over this rank's share of the parameter's first dimension; None for no rows.
    """
    rows = exchange.shape[0]
    start, stop = rows * ranks.rank // ranks.size, rows * (ranks.rank + 1) // ranks.size
    own = counts[ranks.rank]
    shape = (stop - start, *exchange.shape[1:])
    width = torch.Size(exchange.shape[1:]).numel()
    outer = table = None
    if exchange.form in ("outer", "tied"):
        sources = [part.outer if isinstance(part, TiedColumns) else part for part in parts]
        left = ranks.stack(
            _stack([_outer(p).left for p in sources], own, exchange.positions[0], rows, exchange), counts
        )
        right = ranks.stack(
            _stack([_outer(p).right for p in sources], own, exchange.positions[0], width, exchange), counts
        )
        outer = Outer(left[:, :, start:stop], right, shape)
    if exchange.form in ("rows", "tied"):
        tables = [part.rows if isinstance(part, TiedColumns) else part for part in parts]
        index = _stack([_rows(p).index for p in tables], own, exchange.positions[-1], None, exchange)
        values = _stack([_rows(p).values for p in tables], own, exchange.positions[-1], width, exchange)
        index, values = ranks.stack(index, counts), ranks.stack(values, counts)
        inside = (index >= start) & (index < stop)
        table = SparseRows(torch.where(inside, index - start, -1), values, shape)
    if start == stop:
        return None
    if outer is not None and table is not None:
        return TiedColumns(outer, table)
    return outer if outer is not None else table


def _stack(
    parts: Sequence[Tensor], samples: int, positions: int, width: int | None, exchange: Exchange
) -> Tensor:
    """Put a factor's parts below each other, (samples, positions[, width]), padded with nothing."""
    tail = () if width is None else (width,)
    if not parts:
        empty = torch.full((samples, positions, *tail), -1 if width is None else 0)
        return empty if width is None else empty.to(exchange.dtype)
    out = parts[0].new_full(
        (samples, positions, *tail), -1 if width is None else 0,
        dtype=torch.int64 if width is None else exchange.dtype,
    )  # fmt: skip
    row = 0
    for part in parts:
        out[row : row + len(part), : part.shape[1]] = part
        row += len(part)
    return out
