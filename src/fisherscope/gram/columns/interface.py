"""What every form of per-sample gradients answers: blocks of them, their sum, their inner products."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fisherscope.gram.columns.matmul import rounding, segmented_product, symmetric_product


@dataclass(frozen=True)
class ProductOptions:
    """How products are formed: their dtype, and the bytes that a block of gradients may take."""

    dtype: torch.dtype | None = None  # None: that of the backward pass (half precisions as float32)
    memory_budget: int = 128 << 20

    def of(self, tensor: Tensor) -> torch.dtype:
        if self.dtype is not None:
            return self.dtype
        return torch.float32 if tensor.dtype in (torch.float16, torch.bfloat16) else tensor.dtype


@dataclass(frozen=True)
class Products:
    """What is kept of one parameter's columns."""

    gram: Tensor  # (n, n) float64
    total: Tensor | None  # (r * q,) the columns' sum, where it came with the products
    error: float | Tensor  # bound of the relative error of gram[i, i], or (n,) of each: eps x growth


class Columns:
    """Per-sample gradients of a parameter of `shape`; subclasses form blocks of them."""

    samples: int
    shape: torch.Size
    dtype: torch.dtype
    device: torch.device

    @property
    def size(self) -> tuple[int, int]:
        """(r, q): the parameter's first dimension and the product of the others."""
        if len(self.shape) < 2:
            return 1, self.shape.numel()
        return self.shape[0], self.shape.numel() // max(self.shape[0], 1)

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        """Gradients of parameter rows start…stop, shape (n, stop - start, q)."""
        raise NotImplementedError

    def row_bytes(self) -> int:
        """Bytes that one parameter row of the block takes, all samples together."""
        return self.samples * self.size[1] * self.dtype.itemsize

    def blocks(self, arithmetic: ProductOptions, dtype: torch.dtype) -> Iterator[tuple[int, int, Tensor]]:
        """(start, stop, block) over the whole parameter, each within the memory budget."""
        rows = self.size[0]
        step = max(1, min(rows, arithmetic.memory_budget // max(self.row_bytes(), 1)))
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            yield start, stop, self.block(start, stop, dtype)

    def total(self, arithmetic: ProductOptions) -> Tensor:
        """Return the columns' sum, (r * q,)."""
        dtype = arithmetic.of(torch.empty(0, dtype=self.dtype))
        return torch.cat([block.flatten(1).sum(0) for _, _, block in self.blocks(arithmetic, dtype)])

    def products(self, arithmetic: ProductOptions) -> Products:
        """Inner products of all pairs, and the sum. Time n·p (blocks) + n²·p/2."""
        return self.multiply(arithmetic, summed=True)

    def multiply(self, arithmetic: ProductOptions, summed: bool) -> Products:
        """Inner products from blocks, and the sum if it is asked for."""
        dtype = arithmetic.of(torch.empty(0, dtype=self.dtype))
        gram: Tensor | None = None
        totals = []
        for _, _, block in self.blocks(arithmetic, dtype):
            flat = block.flatten(1)
            product = symmetric_product(flat)
            gram = product if gram is None else gram.add_(product)
            if summed:
                totals.append(flat.sum(0))
        assert gram is not None, "a parameter has rows"
        error = rounding(dtype, self.shape.numel())
        if not summed:
            return Products(gram, None, error)
        return Products(gram, totals[0] if len(totals) == 1 else torch.cat(totals), error)

    def cross(self, other: Columns, arithmetic: ProductOptions) -> Tensor:
        """Inner products with other samples' gradients of the same parameter, (n, m) float64."""
        dtype = arithmetic.of(torch.empty(0, dtype=self.dtype))
        gram = torch.zeros(self.samples, other.samples, dtype=torch.float64, device=self.device)
        for start, stop, block in self.blocks(arithmetic, dtype):
            gram += segmented_product(block.flatten(1), other.block(start, stop, dtype).flatten(1))
        return gram

    def whole(self, arithmetic: ProductOptions) -> Tensor:
        """All gradients at once, (n, r * q): n·p values."""
        dtype = arithmetic.of(torch.empty(0, dtype=self.dtype))
        return self.block(0, self.size[0], dtype).flatten(1)

    def nbytes(self) -> int:
        """Bytes held."""
        raise NotImplementedError

    def rounding_scale(self) -> Tensor | None:
        """Return |terms|·sqrt(number of terms) of the total's sums: its rounding's scale.

        By Cauchy and Schwarz over whole factors; None where a total has few terms.
        """
        return None
