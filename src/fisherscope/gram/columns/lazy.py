"""Per-sample gradients formed on demand, block by block, where a layer's own kernel beats a product."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fisherscope.gram.columns.interface import Columns
from fisherscope.gram.columns.matmul import rounding_scale


class LazyColumns(Columns):
    """Form per-sample gradients on demand, block by block, by the kernel of a layer's rule.

    Args:
        form: Called with (start, stop, dtype); returns the gradients of the parameter's rows start to stop,
            (n, stop - start, q): n samples, q numbers a row.
        samples: Number of samples n.
        shape: The parameter's shape.
        like: A tensor of the columns' dtype and device.
        factors: The two tensors that `form` computes from (inputs and cotangents), for `nbytes` and
            `rounding_scale`.
        terms: Number of products that are added up in each entry of the gradient summed over samples.

    Example:
        ```python
        import torch

        from fisherscope.gram.columns import LazyColumns, ProductOptions

        left, right = torch.randn(4, 3), torch.randn(4, 5)
        form = lambda start, stop, dtype: torch.einsum("nr,nq->nrq", left[:, start:stop], right).to(dtype)
        columns = LazyColumns(form, 4, (3, 5), left, (left, right), terms=4)
        torch.testing.assert_close(columns.total(ProductOptions()), (left.T @ right).flatten())
        ```
    """

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
