"""Which sample a row of a tensor belongs to: the dimension that carries the batch, and its order.

A `Layout` says where the samples lie in a tensor, whatever their number; a `Grouping` is a layout (or
an explicit row → sample map) bound to one batch, and brings tensors to samples-first order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Samples lie along `dim`, which reads as (outer, n, inner); None stands for "all the rest"."""

    dim: int
    outer: int | None = 1
    inner: int | None = None

    def factors(self, size: int, samples: int) -> tuple[int, int] | None:
        """(outer, inner) for a dimension of `size` rows, or None where they do not fit."""
        if samples <= 0 or size % samples:
            return None
        rest = size // samples
        if self.outer is None:
            return rest, 1
        inner = rest // self.outer if self.inner is None else self.inner
        return (self.outer, inner) if self.outer * inner == rest else None


@dataclass(frozen=True)
class Grouping:
    """One tensor layout bound to `samples` samples."""

    samples: int
    layout: Layout
    rows: Tensor | None = None  # (n, t) row numbers, padded with 0, where rows are ragged
    real: Tensor | None = None  # (n, t) 1 where `rows` is a row, 0 where it is padding

    @property
    def dim(self) -> int:
        return self.layout.dim

    def fits(self, shape: torch.Size) -> bool:
        """Whether a tensor of this shape can be split by this grouping."""
        if self.dim >= len(shape):
            return False
        if self.rows is not None and self.real is not None:
            return shape[self.dim] == int(self.real.sum())
        return self.layout.factors(shape[self.dim], self.samples) is not None

    def samples_first(self, tensor: Tensor) -> Tensor:
        """The tensor as (n, t, *other dimensions in their order): t rows of each sample."""
        if self.rows is not None and self.real is not None:
            rows = tensor.movedim(self.dim, 0)[self.rows.to(tensor.device)]
            real = self.real.to(device=tensor.device, dtype=tensor.dtype)
            return rows * real.reshape(*real.shape, *(1,) * (tensor.dim() - 1))
        if tensor.shape[self.dim] == self.samples:
            return (tensor.movedim(self.dim, 0) if self.dim else tensor).unsqueeze(1)
        factors = self.layout.factors(tensor.shape[self.dim], self.samples)
        assert factors is not None, "a grouping is checked with fits() when its call is recorded"
        outer, inner = factors
        split: Tensor = tensor.unflatten(self.dim, (outer, self.samples, inner))
        split = split.movedim((self.dim + 1, self.dim, self.dim + 2), (0, 1, 2))
        return split.flatten(1, 2)

    def mask(self, sample: int, like: Tensor) -> Tensor:
        """1 on a sample's rows, 0 on others; broadcasts to `like`, which is laid out as the grouping says."""
        rows = torch.arange(like.shape[self.dim], device=like.device)
        chosen = self.moved(0).samples_first(rows)[sample].flatten()
        if self.rows is not None and self.real is not None:
            chosen = chosen[self.real[sample].to(chosen.device) > 0]
        mask = like.new_zeros(like.shape[self.dim])
        mask[chosen] = 1
        return mask.reshape([-1 if axis == self.dim else 1 for axis in range(like.dim())])

    def moved(self, dim: int) -> Grouping:
        """The same samples along another dimension."""
        return Grouping(self.samples, Layout(dim, self.layout.outer, self.layout.inner), self.rows, self.real)


def rows_grouping(sample_of: Tensor, dim: int = 0, samples: int | None = None) -> Grouping:
    """The grouping of rows that carry their sample's number: `sample_of` (rows,) integers from 0."""
    sample_of = sample_of.detach().cpu().long()
    count = torch.bincount(sample_of, minlength=samples or 0)
    n, longest = len(count), max(int(count.max()), 1)
    order = torch.argsort(sample_of, stable=True)
    start = torch.cumsum(count, 0) - count
    place = torch.arange(len(sample_of)) - start[sample_of[order]]
    rows = torch.zeros(n, longest, dtype=torch.long)
    real = torch.zeros(n, longest)
    rows[sample_of[order], place] = order
    real[sample_of[order], place] = 1
    return Grouping(n, Layout(dim), rows, real)


def packed_rows(batch_sizes: Tensor, sorted_indices: Tensor | None) -> Tensor:
    """The sample of each row of a packed sequence's data, (rows,); rows run time first."""
    places = torch.cat([torch.arange(int(size)) for size in batch_sizes])
    return places if sorted_indices is None else sorted_indices.detach().cpu()[places]
