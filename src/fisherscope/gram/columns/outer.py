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
    """Hold the factors of sums of outer products.

    Sample i's gradient is Σ_t left[i, t] right[i, t]ᵀ.

    Args:
        left: (n, t, r), as the output's gradient of a linear layer.
        right: (n, t, q), as its input.
        shape: The parameter's shape, (r, q) or one that flattens to it.

    Example:
        ```python
        import torch

        from fisherscope.gram.columns import Outer, ProductOptions

        output_gradient, inputs = torch.randn(4, 1, 3), torch.randn(4, 1, 5)
        columns, options = Outer(output_gradient, inputs, (3, 5)), ProductOptions()
        gradients = torch.einsum("ntr,ntq->nrq", output_gradient, inputs).flatten(1)
        gram = columns.products(options).gram
        torch.testing.assert_close(gram.float(), gradients @ gradients.T, rtol=1e-5, atol=1e-5)
        projection = columns.project_total(torch.eye(5), options)  # (5, 3): the sum, transposed
        torch.testing.assert_close(projection.T.flatten(), columns.total(options))
        assert columns.transpose().shape == (5, 3)
        assert columns.pairwise_is_cheaper(options) == (columns.positions == 1)
        assert columns.left_pairs(options).shape == (4, 4)
        ```
    """

    def __init__(self, left: Tensor, right: Tensor, shape: Sequence[int]) -> None:
        self.left, self.right = left, right
        self.samples, self.shape = left.shape[0], torch.Size(shape)
        self.dtype, self.device = left.dtype, left.device
        self._left_pairs: Tensor | None = None
        self._pairwise: tuple[ProductOptions, bool] | None = None

    @property
    def positions(self) -> int:
        """Number of positions t of a sample."""
        return self.left.shape[1]

    def transpose(self) -> Outer:
        """Return the columns of the transposed parameter.

        Returns:
            Columns of shape (q, r), of the same factors.
        """
        return Outer(self.right, self.left, (self.shape[1], self.shape[0]))

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        return torch.bmm(self.left[:, :, start:stop].to(dtype).transpose(1, 2), self.right.to(dtype))

    def nbytes(self) -> int:
        return self.left.nbytes + self.right.nbytes

    def rounding_scale(self) -> Tensor:
        return rounding_scale(self.left, self.right, self.samples * self.positions)

    def total(self, options: ProductOptions) -> Tensor:
        dtype = options.of(self.left)
        return (self.left.flatten(0, 1).to(dtype).T @ self.right.flatten(0, 1).to(dtype)).flatten()

    def project_total(self, directions: Tensor, options: ProductOptions) -> Tensor:
        """Multiply directions by the columns' transposed sum (q, r) without forming it.

        Args:
            directions: (k, q).
            options: The dtype of the product.

        Returns:
            (k, r), in the dtype of `options`.

        Cost: n·t·(r + q)·k multiplications. Source: Freivalds 1977 (random directions check a product).
        """
        dtype = options.of(self.left)
        # Few rows on the left: the product with few columns on the right took four times as long.
        along = directions.to(dtype) @ self.right.flatten(0, 1).to(dtype).T
        return along @ self.left.flatten(0, 1).to(dtype)

    def left_pairs(self, options: ProductOptions) -> Tensor:
        """Multiply all rows of the left factor with each other, once.

        Args:
            options: The dtype of the products.

        Returns:
            (n·t, n·t) float64.

        Cost: (n·t)²·r/2 multiplications at the first call.
        """
        if self._left_pairs is None:
            left = self.left.flatten(0, 1).to(options.of(self.left))
            self._left_pairs = symmetric_product(left)
        return self._left_pairs

    def pairwise_is_cheaper(self, options: ProductOptions) -> bool:
        """Tell whether products of positions take fewer operations than forming the gradients.

        Args:
            options: The memory that the products may take.

        Returns:
            True if `products` multiplies the factors.
        """
        if self._pairwise is None or self._pairwise[0] is not options:
            self._pairwise = options, self._is_pairwise_cheaper(options)
        return self._pairwise[1]

    def _is_pairwise_cheaper(self, options: ProductOptions) -> bool:
        n, t, (r, q) = self.samples, self.positions, self.size
        if t > 1 and self.left.is_cuda:  # whether they cancel is looked up, which waits for the device
            return False
        if (n * t) ** 2 * 2 * self.dtype.itemsize > 2 * options.memory_budget:
            return False
        return n * n * t * t * (r + q) < n * t * r * q + n * n * r * q // 2

    def products(self, options: ProductOptions) -> Products:
        """Form the products; for few positions by the factors, (L Lᵀ) ∘ (R Rᵀ), n²·t²·(r + q)."""
        if not self.pairwise_is_cheaper(options):
            return super().products(options)
        dtype = options.of(self.left)
        pairs = self.left_pairs(options) * symmetric_product(self.right.to(dtype).flatten(0, 1))
        error = 2 * rounding(dtype, max(self.size))
        if self.positions == 1:
            return Products(pairs, None, error)
        n, t = self.samples, self.positions
        term_norms = pairs.diagonal().clamp_min(0).sqrt().reshape(n, t).sum(1)
        pairs = pairs.reshape(n, t, n, t).sum((1, 3))
        growth = term_norms.square() / pairs.diagonal().clamp_min(torch.finfo(torch.float64).tiny)
        if bool(((growth > _CANCELLATION**2) & (term_norms > 0)).any()):
            return super().products(options)
        return Products(pairs, None, growth * error)

    def cross(self, other: Columns, options: ProductOptions) -> Tensor:
        if isinstance(other, Outer) and self.positions == other.positions == 1:
            dtype = options.of(self.left)
            left = segmented_product(self.left[:, 0].to(dtype), other.left[:, 0].to(dtype))
            return left * segmented_product(self.right[:, 0].to(dtype), other.right[:, 0].to(dtype))
        return super().cross(other, options)


class BiasColumns(Columns):
    """Hold a bias by its layer's `Outer`: sample i's gradient is Σ_t left[i, t], (r,).

    Args:
        outer: Columns of the weight of the same call, whose left factor and products are shared.
        shape: The bias's shape, (r,).

    Example:
        ```python
        import torch

        from fisherscope.gram.columns import BiasColumns, Outer, ProductOptions

        output_gradient = torch.ones(4, 2, 3)
        bias = BiasColumns(Outer(output_gradient, torch.ones(4, 2, 5), (3, 5)), (3,))
        assert bias.total(ProductOptions()).tolist() == [8.0, 8.0, 8.0]
        ```
    """

    def __init__(self, outer: Outer, shape: Sequence[int]) -> None:
        self.outer = outer
        self.samples, self.shape = outer.samples, torch.Size(shape)
        self.dtype, self.device = outer.dtype, outer.device

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        return self.outer.left.to(dtype).sum(1, keepdim=True)

    def products(self, options: ProductOptions) -> Products:
        """Form the products; at one position they are the outer one's `left_pairs`."""
        if self.outer.positions > 1 or not self.outer.pairwise_is_cheaper(options):
            return super().products(options)
        dtype = options.of(self.outer.left)
        error = rounding(dtype, self.shape.numel())
        return Products(self.outer.left_pairs(options), self.outer.left[:, 0].to(dtype).sum(0), error)

    def nbytes(self) -> int:
        return self.outer.left.nbytes
