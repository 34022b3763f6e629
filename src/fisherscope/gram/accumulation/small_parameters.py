"""Small parameters, held whole, multiplied many at a time: their products are cheap, the calls are not."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from fisherscope.gram.columns import Dense, rounding, symmetric_product

SMALL = 512
"""Numbers up to which a parameter is small."""
_FULL = 4096
"""Columns at which a pool is multiplied."""


@dataclass(frozen=True)
class PoolProducts:
    """Products of a pool: of all together, and one value a parameter in the order of `names`."""

    names: list[str]
    gram: Tensor  # (n, n) float64
    error: float  # bound of the relative error of its diagonal
    traces: Tensor  # (k,) float64, as the others
    mean_squares: Tensor
    differences: Tensor


@dataclass
class SmallParameterBatch:
    """Columns (n, p) of small parameters that wait, with the gradients that arrived for them."""

    names: list[str] = field(default_factory=list)
    columns: list[Tensor] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)
    width: int = 0

    def add(self, name: str, columns: Dense, gradient: Tensor, dtype: torch.dtype) -> None:
        """Add one parameter's columns; `gradient` is copied, so that its owner may change it."""
        self.names.append(name)
        self.columns.append(columns.gradients.to(dtype))
        self.gradients.append(gradient.detach().to(dtype, copy=True).flatten())
        self.width += columns.gradients.shape[1]

    @property
    def is_full(self) -> bool:
        return self.width >= _FULL

    @property
    def samples(self) -> int | None:
        return self.columns[0].shape[0] if self.columns else None

    def products(self) -> PoolProducts:
        """Multiply the pool. Time n²·(all numbers)/2, about fifteen calls for any pool."""
        together = torch.cat(self.columns, 1)
        gram, total = symmetric_product(together), together.sum(0)
        terms = torch.stack(
            [together.square().sum(0), total.square(), (total - torch.cat(self.gradients)).square()]
        )
        sizes = torch.tensor([c.shape[1] for c in self.columns])
        place = torch.repeat_interleave(torch.arange(len(sizes)), sizes).to(terms.device)
        sums = torch.zeros(3, len(sizes), dtype=torch.float64, device=terms.device)
        sums.index_add_(1, place, terms.double())
        error = rounding(together.dtype, self.width)
        return PoolProducts(self.names, gram, error, sums[0], sums[1], sums[2].sqrt())
