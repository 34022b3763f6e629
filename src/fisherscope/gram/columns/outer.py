"""Sums of outer products, as of a weight matrix: held by their factors, multiplied the cheaper way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fisherscope.gram.columns.interface import Columns, ProductOptions, Products
from fisherscope.gram.columns.matmul import rounding, rounding_scale, segmented_product, symmetric_product

# A pairwise product is kept only if sum_t |a_t||d_t| <= this many times |g_i| (cancellation).
_CANCELLATION = 8.0


class Outer(Columns):
    """Sums of outer products Σ_t left[i, t] right[i, t]ᵀ; (n, t, r) and (n, t, q)."""

    def __init__(self, left: Tensor, right: Tensor, shape: Sequence[int]) -> None:
        self.left, self.right = left, right
        self.samples, self.shape = left.shape[0], torch.Size(shape)
        self.dtype, self.device = left.dtype, left.device
        self._left_pairs: Tensor | None = None

    @property
    def positions(self) -> int:
        return self.left.shape[1]

    def transposed(self) -> Outer:
        """Return the columns of the transposed parameter."""
        return Outer(self.right, self.left, (self.shape[1], self.shape[0]))

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        return torch.bmm(self.left[:, :, start:stop].to(dtype).transpose(1, 2), self.right.to(dtype))

    def nbytes(self) -> int:
        return self.left.nbytes + self.right.nbytes

    def rounding_scale(self) -> Tensor:
        return rounding_scale(self.left, self.right, self.samples * self.positions)

    def total(self, arithmetic: ProductOptions) -> Tensor:
        dtype = arithmetic.of(self.left)
        return (self.left.flatten(0, 1).to(dtype).T @ self.right.flatten(0, 1).to(dtype)).flatten()

    def sketch(self, directions: Tensor, arithmetic: ProductOptions) -> Tensor:
        """Multiply directions by the transposed sum (q, r) without forming it: n·t·(r + q)·k."""
        dtype = arithmetic.of(self.left)
        # Few rows on the left: the product with few columns on the right took four times as long.
        along = directions.to(dtype) @ self.right.flatten(0, 1).to(dtype).T
        return along @ self.left.flatten(0, 1).to(dtype)

    def left_pairs(self, arithmetic: ProductOptions) -> Tensor:
        """Inner products of all rows of the left factor, (n·t, n·t) float64; formed once."""
        if self._left_pairs is None:
            left = self.left.flatten(0, 1).to(arithmetic.of(self.left))
            self._left_pairs = symmetric_product(left)
        return self._left_pairs

    def pairwise_is_cheaper(self, arithmetic: ProductOptions) -> bool:
        """Whether products of positions take fewer operations than forming the gradients."""
        n, t, (r, q) = self.samples, self.positions, self.size
        if t > 1 and self.left.is_cuda:  # whether they cancel is looked up, which waits for the device
            return False
        if (n * t) ** 2 * 2 * self.dtype.itemsize > 2 * arithmetic.memory_budget:
            return False
        return n * n * t * t * (r + q) < n * t * r * q + n * n * r * q // 2

    def products(self, arithmetic: ProductOptions) -> Products:
        """Form the products; for few positions by the factors, (L Lᵀ) ∘ (R Rᵀ), n²·t²·(r + q)."""
        if not self.pairwise_is_cheaper(arithmetic):
            return super().products(arithmetic)
        dtype = arithmetic.of(self.left)
        pairs = self.left_pairs(arithmetic) * symmetric_product(self.right.to(dtype).flatten(0, 1))
        error = 2 * rounding(dtype, max(self.size))
        if self.positions == 1:
            return Products(pairs, None, error)
        n, t = self.samples, self.positions
        reach = pairs.diagonal().clamp_min(0).sqrt().reshape(n, t).sum(1)
        pairs = pairs.reshape(n, t, n, t).sum((1, 3))
        growth = reach.square() / pairs.diagonal().clamp_min(torch.finfo(torch.float64).tiny)
        if bool(((growth > _CANCELLATION**2) & (reach > 0)).any()):
            return super().products(arithmetic)
        return Products(pairs, None, growth * error)

    def cross(self, other: Columns, arithmetic: ProductOptions) -> Tensor:
        if isinstance(other, Outer) and self.positions == other.positions == 1:
            dtype = arithmetic.of(self.left)
            left = segmented_product(self.left[:, 0].to(dtype), other.left[:, 0].to(dtype))
            return left * segmented_product(self.right[:, 0].to(dtype), other.right[:, 0].to(dtype))
        return super().cross(other, arithmetic)


class BiasColumns(Columns):
    """Sums Σ_t left[i, t], a bias, which adds one to every product of an outer one; (n, r)."""

    def __init__(self, outer: Outer, shape: Sequence[int]) -> None:
        self.outer = outer
        self.samples, self.shape = outer.samples, torch.Size(shape)
        self.dtype, self.device = outer.dtype, outer.device

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        return self.outer.left.to(dtype).sum(1, keepdim=True)

    def products(self, arithmetic: ProductOptions) -> Products:
        """Form the products; for few positions by the factors, (L Lᵀ) ∘ (R Rᵀ), n²·t²·(r + q)."""
        if self.outer.positions > 1 or not self.outer.pairwise_is_cheaper(arithmetic):
            return super().products(arithmetic)
        dtype = arithmetic.of(self.outer.left)
        error = rounding(dtype, self.shape.numel())
        return Products(self.outer.left_pairs(arithmetic), self.outer.left[:, 0].to(dtype).sum(0), error)

    def nbytes(self) -> int:
        return self.outer.left.nbytes
