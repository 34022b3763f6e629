"""Which sample a row of a tensor belongs to: the dimension that carries the batch, and its order.

A `Layout` says where the samples lie in a tensor, whatever their number; a `Grouping` is a layout (or
an explicit row → sample map) bound to one batch, and brings tensors to samples-first order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Samples along `dim`, read as (outer, n, inner); None stands for "all the rest"."""

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
    """One tensor layout bound to `samples` samples, or a map from rows to samples.

    Args:
        samples: Number of samples.
        layout: Where the samples lie, by structure.
        rows: (n, t) numbers of each sample's rows, padded with 0; None where `layout` says it all.
        real: (n, t) 1 where `rows` is a row, 0 where it is padding.
        size: Number of rows of a tensor that this map is for, those of no sample included.
        lead: How many leading dimensions, flattened, the rows lie along; 1: along `layout.dim` alone.
        full: Whether `real` is 1 everywhere.
    """

    samples: int
    layout: Layout
    rows: Tensor | None = None
    real: Tensor | None = None
    size: int = 0
    lead: int = 1
    full: bool = False

    @property
    def dim(self) -> int:
        return self.layout.dim

    def fits(self, shape: torch.Size) -> bool:
        """Whether a tensor of this shape can be split by this grouping."""
        if self.dim >= len(shape):
            return False
        if self.rows is not None:
            return self._length(shape) == self.size
        return self.layout.factors(shape[self.dim], self.samples) is not None

    def samples_first(self, tensor: Tensor) -> Tensor:
        """Return the tensor as (n, t, *other dimensions in their order): t rows a sample."""
        if self.rows is not None and self.real is not None:
            flat = tensor.flatten(0, self.lead - 1) if self.lead > 1 else tensor.movedim(self.dim, 0)
            if not len(flat):
                return flat.new_zeros(self.samples, 1, *flat.shape[1:])
            rows: Tensor = flat.index_select(0, self.rows.flatten().to(tensor.device)).unflatten(
                0, self.rows.shape
            )
            if self.full:
                return rows
            real = self.real.to(device=tensor.device, dtype=tensor.dtype)
            return rows * real.reshape(*real.shape, *(1,) * (rows.dim() - 2))
        if tensor.shape[self.dim] == self.samples:
            return (tensor.movedim(self.dim, 0) if self.dim else tensor).unsqueeze(1)
        factors = self.layout.factors(tensor.shape[self.dim], self.samples)
        assert factors is not None, "a grouping is checked with fits() when its call is recorded"
        outer, inner = factors
        split: Tensor = tensor.unflatten(self.dim, (outer, self.samples, inner))
        split = split.movedim((self.dim + 1, self.dim, self.dim + 2), (0, 1, 2))
        return split.flatten(1, 2)

    def sample_of(self, size: int) -> Tensor:
        """Return the sample of each of `size` rows, (size,) on the CPU; -1 for a row of none."""
        out = torch.full((size,), -1, dtype=torch.long)
        numbers = torch.arange(size)
        if self.rows is not None and self.real is not None:
            real_rows = self.real > 0
            out[self.rows[real_rows]] = (
                torch.arange(self.samples).unsqueeze(1).expand(self.rows.shape)[real_rows]
            )
            return out
        split = self.along(0).samples_first(numbers)
        out[split.flatten()] = torch.arange(self.samples).repeat_interleave(split.shape[1])
        return out

    def mask(self, sample: int, like: Tensor) -> Tensor:
        """Return 1 on a sample's rows and 0 on others; it broadcasts to `like`."""
        length = self._length(like.shape)
        mask = (self.sample_of(length) == sample).to(device=like.device, dtype=like.dtype)
        if self.lead > 1:
            return mask.reshape(*like.shape[: self.lead], *(1,) * (like.dim() - self.lead))
        return mask.reshape([-1 if axis == self.dim else 1 for axis in range(like.dim())])

    def along(self, dim: int) -> Grouping:
        """Return the grouping of the same samples along another dimension."""
        layout = Layout(dim, self.layout.outer, self.layout.inner)
        return Grouping(self.samples, layout, self.rows, self.real, self.size, self.lead, self.full)

    def _length(self, shape: torch.Size) -> int:
        return shape[: self.lead].numel() if self.lead > 1 else shape[self.dim]


def rows_grouping(sample_of: Tensor, dim: int = 0, samples: int | None = None, lead: int = 1) -> Grouping:
    """Return the grouping of rows that carry their sample's number.

    Args:
        sample_of: (rows,) integers from 0; -1 for a row of no sample, which is left out.
        dim: The dimension along which the rows lie.
        samples: How many samples there are; one more than the largest number by default.
        lead: How many leading dimensions, flattened, the rows lie along, in place of `dim`.

    Returns:
        The grouping.
    """
    numbers = sample_of.detach().cpu().long().numpy()
    order = np.argsort(numbers, kind="stable")
    nobody = int((numbers < 0).sum())
    order = order[nobody:]
    count = np.bincount(numbers[order], minlength=samples or 0)
    n, longest = len(count), max(int(count.max()) if len(count) else 0, 1)
    size = len(numbers)
    if len(order) == n * longest:  # as many rows of each sample
        rows = torch.from_numpy(order.reshape(n, longest))
        return Grouping(n, Layout(dim), rows, torch.ones(n, longest), size, lead, full=True)
    place = np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count)
    rows, real = torch.zeros(n, longest, dtype=torch.long), torch.zeros(n, longest)
    rows.numpy()[numbers[order], place] = order
    real.numpy()[numbers[order], place] = 1
    return Grouping(n, Layout(dim), rows, real, size, lead)


def packed_rows(batch_sizes: Tensor, sorted_indices: Tensor | None) -> Tensor:
    """Return the sample of each row of packed data, (rows,); rows run time first."""
    places = torch.cat([torch.arange(int(size)) for size in batch_sizes])
    return places if sorted_indices is None else sorted_indices.detach().cpu()[places]
