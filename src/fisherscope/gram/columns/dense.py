"""Gradients held as numbers: one for each sample, or one that all samples share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fisherscope.gram.columns.interface import Columns


class Dense(Columns):
    """Gradients held whole, (n, p)."""

    def __init__(self, gradients: Tensor, shape: Sequence[int]) -> None:
        self.gradients = gradients
        self.samples, self.shape = gradients.shape[0], torch.Size(shape)
        self.dtype, self.device = gradients.dtype, gradients.device

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        rows, q = self.size
        return self.gradients.reshape(self.samples, rows, q)[:, start:stop].to(dtype)

    def nbytes(self) -> int:
        return self.gradients.nbytes


class Equal(Columns):
    """The same gradient (p,) for every sample: an equal share of a penalty."""

    def __init__(self, gradient: Tensor, samples: int, shape: Sequence[int]) -> None:
        self.gradient = gradient
        self.samples, self.shape = samples, torch.Size(shape)
        self.dtype, self.device = gradient.dtype, gradient.device

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        rows = self.gradient.reshape(self.size)[start:stop].to(dtype)
        return rows.expand(self.samples, *rows.shape)

    def nbytes(self) -> int:
        return self.gradient.nbytes
