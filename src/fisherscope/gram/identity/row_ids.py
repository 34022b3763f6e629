"""Reading the sample of each row of a tensor from two gradients of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from fisherscope.gram.identity.codes import RESIDUAL_COARSE, TOLERANCE, Codes, Numbers

_SKETCH = 8
"""Directions on which rows are projected before they are compared: a product instead of several passes."""
_WIDEST = 1 << 16
"""Numbers of a row that are projected at once: the directions are kept."""
_WEAK = 1e-4
"""Share of the largest row's norm below which a row that reads badly is taken for unread, not for mixed."""
_FINE = (torch.float32, torch.float64)
SILENT, MIXED = -1, -2
"""In place of a sample: the row got no gradient; the row serves several samples."""


@dataclass(frozen=True)
class RowReading:
    """The samples of the rows along some leading or single dimensions of a tensor.

    Args:
        dim: The dimension that the rows lie along, where it is one.
        lead: How many leading dimensions, flattened, the rows lie along; 1 where it is `dim` alone.
        ids: (rows,) long on the CPU: the sample, or SILENT, or MIXED.
        weak: (rows,) which of them are too small to be mixed; None where none is.
    """

    dim: int
    lead: int
    ids: Tensor
    weak: Tensor | None = None

    @property
    def clean(self) -> bool:
        """Whether every row with a gradient serves one sample, and at least one does."""
        return bool((self.ids >= 0).any()) and not bool((self.ids == MIXED).any())


def rows_along(tensor: Tensor, dim: int, lead: int) -> Tensor:
    """Return the tensor as (rows, rest), rows along `dim` or its `lead` first dimensions."""
    if lead > 1:
        return tensor.reshape(tensor.shape[:lead].numel(), -1)
    return tensor.movedim(dim, 0).reshape(tensor.shape[dim], -1)


def read_rows(unit: Tensor, scaled: list[Tensor], codes: Codes, dim: int, lead: int = 1) -> RowReading:
    """Read which sample each row serves.

    Args:
        unit: A gradient of the tensor, for a cotangent c at the model's output.
        scaled: The gradients for the cotangents (code of the sample) · c, one for each pass of the codes.
        codes: Their codes.
        dim: The dimension along which rows lie.
        lead: How many leading dimensions to take as rows, instead of `dim`.

    Returns:
        The sample of each row.
    """
    exact = unit.dtype in _FINE or unit.is_complex()
    allowed = TOLERANCE if exact else RESIDUAL_COARSE
    a, *others = (_sketch(_real(rows_along(one, dim, lead))) for one in (unit, *scaled))
    squares = np.square(a).sum(1)
    norms = np.maximum(squares, np.finfo(np.float64).tiny)
    ratios, fits = [], np.ones(len(a), dtype=bool)
    for b in others:
        ratio = (a * b).sum(1) / norms
        fits &= np.square(b - ratio[:, None] * a).sum(1) <= allowed**2 * squares
        ratios.append(ratio)
    ids = np.where(fits, codes.decode(ratios), -1)
    unread = ids < 0
    weak = None
    if unread.any():  # zero rows among them: 0 is nobody's code
        weak = unread & (squares <= _WEAK**2 * squares.max())
        ids = np.where(unread, np.where(weak, SILENT, MIXED), ids)
        if (weak & (squares > 0)).any():  # they hold little more than rounding
            guess = codes.nearest(ratios)
            ids = np.where(weak & (squares > 0) & (guess >= 0), guess, ids)
    return RowReading(dim, lead, torch.from_numpy(ids), None if weak is None else torch.from_numpy(weak))


def merge_readings(before: dict[int, RowReading], now: dict[int, RowReading]) -> dict[int, RowReading]:
    """Combine two draws; a row that they read differently is mixed."""
    if not before:
        return now
    out: dict[int, RowReading] = {}
    for k, reading in now.items():
        other = before.get(k)
        if other is None or (other.dim, other.lead) != (reading.dim, reading.lead):
            out[k] = RowReading(reading.dim, reading.lead, torch.full_like(reading.ids, MIXED))
        else:
            same = reading.ids == other.ids
            weak = torch.zeros_like(same)
            for one in (reading.weak, other.weak):  # rounding, which two draws may read differently
                weak = weak if one is None else weak | one
            ids = torch.where(same | weak, reading.ids, MIXED)
            out[k] = RowReading(reading.dim, reading.lead, ids, weak if bool(weak.any()) else None)
    return out


@lru_cache(maxsize=16)
def _directions(width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Draw the directions of a sketch, always the same."""
    generator = torch.Generator().manual_seed(width)
    return torch.randn(width, _SKETCH, generator=generator).to(device=device, dtype=dtype)


def _sketch(rows: Tensor) -> Numbers:
    """Project rows on a few directions: proportional rows stay so, others do not become so."""
    found: Numbers = _project(rows).detach().cpu().double().numpy()
    return found


def _project(rows: Tensor) -> Tensor:
    width = rows.shape[1]
    if width <= 2 * _SKETCH:
        return rows
    if width <= _WIDEST:
        return rows @ _directions(width, rows.dtype, rows.device)
    parts = rows.split(_WIDEST, 1)
    scales = _directions(len(parts), rows.dtype, rows.device)
    return sum(
        (_project(part) * scale for part, scale in zip(parts, scales, strict=True)), rows.new_zeros(())
    )


def _real(values: Tensor) -> Tensor:
    if values.is_complex():
        return torch.view_as_real(values).flatten(1)
    return values if values.dtype in _FINE else values.float()
