"""Reading the sample of each row of a tensor from two gradients of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fisherscope.gram.identity.codes import RESIDUAL_COARSE, TOLERANCES, Codes

_WEAK = 1e-4
"""Share of the largest row's norm below which a row that reads badly is taken for unread, not for mixed."""
SILENT, MIXED = -1, -2
"""In place of a sample: the row got no gradient; the row serves several samples."""


@dataclass(frozen=True)
class RowReading:
    """The samples of the rows along some leading or single dimensions of a tensor.

    Args:
        dim: The dimension that the rows lie along, where it is one.
        lead: How many leading dimensions, flattened, the rows lie along; 1 where it is `dim` alone.
        ids: (rows,) long on the CPU: the sample, or SILENT, or MIXED.
    """

    dim: int
    lead: int
    ids: Tensor

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
    a = _real(rows_along(unit, dim, lead))
    norm = torch.linalg.vector_norm(a, dim=1)
    squares = norm.square().clamp_min(torch.finfo(a.dtype).tiny)
    exact = unit.dtype in TOLERANCES or unit.is_complex()
    allowed = TOLERANCES.get(a.dtype, TOLERANCES[torch.float32]) if exact else RESIDUAL_COARSE
    ratios, fits = [], torch.ones(len(a), dtype=torch.bool)
    for gradient in scaled:
        b = _real(rows_along(gradient, dim, lead))
        ratio = torch.einsum("ri,ri->r", a, b) / squares
        rest = torch.linalg.vector_norm(torch.addcmul(b, a, ratio.unsqueeze(1), value=-1), dim=1)
        fits &= (rest <= allowed * norm).cpu()
        ratios.append(ratio)
    ids = torch.where(fits, codes.decode(ratios, a.dtype), -1)
    weak = (norm <= _WEAK * norm.max()).cpu() if len(norm) else torch.zeros(0, dtype=torch.bool)
    unread = ids < 0
    ids = torch.where(unread & weak, SILENT, torch.where(unread, MIXED, ids))
    return RowReading(dim, lead, torch.where((norm == 0).cpu(), SILENT, ids))


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
            ids = torch.where(reading.ids == other.ids, reading.ids, MIXED)
            out[k] = RowReading(reading.dim, reading.lead, ids)
    return out


def _real(values: Tensor) -> Tensor:
    if values.is_complex():
        return torch.view_as_real(values).flatten(1)
    return values if values.dtype in TOLERANCES else values.float()
