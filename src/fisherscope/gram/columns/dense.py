"""Gradients held as numbers: one for each sample, or one that all samples share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fisherscope.gram.columns.interface import Columns


class Dense(Columns):
    """Hold the gradients themselves: n·p numbers.

    Args:
        gradients: (n, p), any dtype; p = the product of `shape`.
        shape: The parameter's shape.

    Example:
        ```python
        import torch

        from fisherscope.gram.columns import Dense, ProductOptions

        columns = Dense(torch.tensor([[3.0, 4.0], [0.0, 1.0]]), (2,))
        products = columns.products(ProductOptions())
        assert products.gram.tolist() == [[25.0, 4.0], [4.0, 1.0]]
        assert columns.total(ProductOptions()).tolist() == [3.0, 5.0]
        assert columns.block(0, 1, torch.float64).shape == (2, 1, 2)
        assert columns.nbytes() == 4 * 4
        ```
    """

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
    """Hold one gradient that every sample has: an equal share of a penalty.

    Args:
        gradient: (p,), any dtype.
        samples: n.
        shape: The parameter's shape.

    Example:
        ```python
        import torch

        from fisherscope.gram.columns import Equal, ProductOptions

        columns = Equal(torch.tensor([0.5, 1.0]), samples=4, shape=(2,))
        assert columns.total(ProductOptions()).tolist() == [2.0, 4.0]
        ```
    """

    def __init__(self, gradient: Tensor, samples: int, shape: Sequence[int]) -> None:
        self.gradient = gradient
        self.samples, self.shape = samples, torch.Size(shape)
        self.dtype, self.device = gradient.dtype, gradient.device

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        rows = self.gradient.reshape(self.size)[start:stop].to(dtype)
        return rows.expand(self.samples, *rows.shape)

    def nbytes(self) -> int:
        return self.gradient.nbytes
