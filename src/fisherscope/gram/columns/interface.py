"""The contract of columns: blocks of per-sample gradients, their sum and their inner products."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fisherscope.gram.columns.matmul import rounding, segmented_product, symmetric_product


@dataclass(frozen=True)
class ProductOptions:
    """How products are formed: their dtype, and the bytes that a block of gradients may take.

    Attributes:
        dtype: Dtype of the factors of products; None: that of the backward pass (half precisions as float32).
        memory_budget: Bytes of one block of gradients (n, rows, q).

    Example:
        ```python
        import torch

        from fisherscope.gram.columns import ProductOptions

        assert ProductOptions().of(torch.ones(1, dtype=torch.bfloat16)) == torch.float32
        assert ProductOptions(torch.float64).of(torch.ones(1)) == torch.float64
        ```
    """

    dtype: torch.dtype | None = None
    memory_budget: int = 128 << 20

    def of(self, tensor: Tensor) -> torch.dtype:
        """Return the dtype in which products of a tensor are formed.

        Args:
            tensor: A factor of the products, of any shape.

        Returns:
            `dtype` where it is set; else the tensor's, float32 for half precisions.
        """
        if self.dtype is not None:
            return self.dtype
        return torch.float32 if tensor.dtype in (torch.float16, torch.bfloat16) else tensor.dtype


@dataclass(frozen=True)
class Products:
    """Inner products of one parameter's columns; see `Columns.products`.

    Attributes:
        gram: (n, n) float64.
        total: (r·q,) the columns' sum, where it came with the products.
        error: Bound of the relative error of gram[i, i], one number or (n,): eps times the growth.
    """

    gram: Tensor
    total: Tensor | None
    error: float | Tensor


class Columns:
    """Per-sample gradients of a parameter of `shape`; subclasses form blocks of them.

    Attributes:
        samples: n.
        shape: The parameter's shape; (r, q) is its first dimension and the product of the others.
        dtype: Dtype of the gradients.
        device: Where they lie.

    Example:
        ```python
        import torch

        from fisherscope.gram.columns import Columns, Dense, ProductOptions

        class Ones(Columns):
            samples, shape, dtype, device = 4, torch.Size((3, 5)), torch.float32, torch.device("cpu")

            def block(self, start, stop, dtype):
                return torch.ones(4, stop - start, 5, dtype=dtype)

            def nbytes(self):
                return 0

        columns, options = Ones(), ProductOptions(memory_budget=200)
        assert columns.row_bytes() == 4 * 5 * 4
        assert [stop for start, stop, block in columns.blocks(options, torch.float32)] == [2, 3]
        assert columns.total(options).eq(4).all()
        assert columns.products(options).gram.eq(15).all()
        assert columns.multiply(options, summed=False).total is None
        assert columns.cross(Dense(torch.ones(2, 15), (3, 5)), options).shape == (4, 2)
        assert columns.matrix(options).shape == (4, 15)
        assert columns.rounding_scale() is None and columns.nbytes() == 0
        ```
    """

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
        """Form the gradients of some rows of the parameter, for all samples.

        Args:
            start: First row.
            stop: One past the last row.
            dtype: Dtype of the result.

        Returns:
            (n, stop - start, q).

        Raises:
            NotImplementedError: The subclass does not form blocks.
        """
        raise NotImplementedError

    def row_bytes(self) -> int:
        """Return the bytes that one parameter row of a block takes, all samples together.

        Returns:
            n·q·(bytes of the dtype).
        """
        return self.samples * self.size[1] * self.dtype.itemsize

    def blocks(self, options: ProductOptions, dtype: torch.dtype) -> Iterator[tuple[int, int, Tensor]]:
        """Iterate over the parameter in blocks of rows, each within the memory budget.

        Args:
            options: The memory budget.
            dtype: Dtype of the blocks.

        Yields:
            (start, stop, block), the block (n, stop - start, q); at least one row each.
        """
        rows = self.size[0]
        step = max(1, min(rows, options.memory_budget // max(self.row_bytes(), 1)))
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            yield start, stop, self.block(start, stop, dtype)

    def total(self, options: ProductOptions) -> Tensor:
        """Add up the columns.

        Args:
            options: The dtype of the sum.

        Returns:
            (r·q,): the gradient of the summed loss, where the columns are right.

        Cost: n·p additions.
        """
        dtype = options.of(torch.empty(0, dtype=self.dtype))
        return torch.cat([block.flatten(1).sum(0) for _, _, block in self.blocks(options, dtype)])

    def products(self, options: ProductOptions) -> Products:
        """Multiply all pairs of samples' gradients.

        Args:
            options: The dtype of the products and the memory budget.

        Returns:
            The products; their sum too where blocks were formed.

        Cost: n·p for the blocks, n²·p/2 multiplications.
        """
        return self.multiply(options, summed=True)

    def multiply(self, options: ProductOptions, summed: bool) -> Products:
        """Multiply all pairs block by block, whatever the subclass's faster way.

        Args:
            options: The dtype of the products and the memory budget.
            summed: Also add up the columns.

        Returns:
            The products, with the sum if `summed`.
        """
        dtype = options.of(torch.empty(0, dtype=self.dtype))
        gram: Tensor | None = None
        totals = []
        for _, _, block in self.blocks(options, dtype):
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

    def cross(self, other: Columns, options: ProductOptions) -> Tensor:
        """Multiply with other samples' gradients of the same parameter.

        Args:
            other: Columns of m samples, same parameter shape.
            options: The dtype of the products and the memory budget.

        Returns:
            (n, m) float64.
        """
        dtype = options.of(torch.empty(0, dtype=self.dtype))
        gram = torch.zeros(self.samples, other.samples, dtype=torch.float64, device=self.device)
        for start, stop, block in self.blocks(options, dtype):
            gram += segmented_product(block.flatten(1), other.block(start, stop, dtype).flatten(1))
        return gram

    def matrix(self, options: ProductOptions) -> Tensor:
        """Form all gradients at once.

        Args:
            options: The dtype of the result; its memory budget is not obeyed.

        Returns:
            (n, r·q).

        Cost: n·p numbers of memory.
        """
        dtype = options.of(torch.empty(0, dtype=self.dtype))
        return self.block(0, self.size[0], dtype).flatten(1)

    def nbytes(self) -> int:
        """Return the bytes that the columns hold.

        Returns:
            Bytes of all tensors, those shared with other columns too.

        Raises:
            NotImplementedError: The subclass does not say.
        """
        raise NotImplementedError

    def rounding_scale(self) -> Tensor | None:
        """Return the size that rounding errors of `total` are relative to.

        |terms|·√(number of terms), bounded by Cauchy and Schwarz over whole factors.

        Returns:
            A float64 scalar of shape (); None where each entry of the total has few terms.
        """
        return None
