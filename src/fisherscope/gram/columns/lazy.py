"""Gradients formed on demand, block by block, by a rule that has a faster kernel than a product."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fisherscope.gram.columns.interface import Columns
from fisherscope.gram.columns.matmul import rounding_scale


class LazyColumns(Columns):
    """Gradients formed on demand by `form(start, stop, dtype)` → (n, stop - start, q)."""

    def __init__(
        self,
        form: Callable[[int, int, torch.dtype], Tensor],
        samples: int,
        shape: Sequence[int],
        like: Tensor,
        factors: tuple[Tensor, Tensor],
        terms: int,
    ) -> None:
        self._form, self._factors, self._terms = form, factors, terms
        self.samples, self.shape = samples, torch.Size(shape)
        self.dtype, self.device = like.dtype, like.device

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        return self._form(start, stop, dtype)

    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._factors)

    def rounding_scale(self) -> Tensor:
        return rounding_scale(*self._factors, self._terms)
