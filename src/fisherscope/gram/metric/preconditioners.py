"""The forms that an optimizer's P⁻¹ takes on one parameter, and how each is applied to columns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fisherscope.gram.columns import Columns, Dense, Outer, ProductOptions
from fisherscope.gram.metric.scaled_columns import as_parameter, scale_by_rows_and_columns, scale_columns


class Preconditioner:
    """Apply P^{-1/2} to the per-sample gradients of one parameter.

    Attributes:
        form: What it is called in the record: "scalar", "diagonal", "factored" or "matrix".
        floored_share: Share of coordinates whose P was raised to the floor, or of directions left out.
    """

    form: str
    floored_share: float

    def apply(self, columns: Columns, parameter: Tensor, options: ProductOptions) -> Columns:
        """Return the columns of P^{-1/2} g_i.

        Args:
            columns: Of g_i, of the parameter's shape or flat over its storage.
            parameter: The parameter, real.
            options: How products are formed.

        Returns:
            Columns of the same samples.

        Raises:
            NotImplementedError: The subclass does not say.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class ScalarPreconditioner(Preconditioner):
    """Hold P⁻¹ = a number: of SGD, whose groups differ by their rates alone.

    Args:
        inverse: P⁻¹, at least 0.

    Example:
        ```python
        import torch

        from fisherscope.gram import ScalarPreconditioner
        from fisherscope.gram.columns import Dense, ProductOptions

        columns, weight = Dense(torch.ones(2, 3), (3,)), torch.zeros(3)
        own = ScalarPreconditioner(4.0).apply(columns, weight, ProductOptions())
        assert own.matrix(ProductOptions()).tolist() == [[2.0] * 3] * 2
        ```
    """

    inverse: float
    form: str = "scalar"
    floored_share: float = 0.0

    def apply(self, columns: Columns, parameter: Tensor, options: ProductOptions) -> Columns:
        if self.inverse == 1.0:
            return columns
        rows, across = columns.size
        factor = torch.full((), self.inverse**0.5, dtype=torch.float64, device=columns.device)
        return scale_by_rows_and_columns(columns, factor.expand(rows), factor.new_ones(across))


@dataclass(frozen=True)
class DiagonalPreconditioner(Preconditioner):
    """Hold P = diag(d)/rate: of Adam, RMSprop and Adagrad.

    Args:
        diagonal: d of the parameter's shape, floating dtype, positive, such as √v̂ + ε.
        rate: Factor of P⁻¹, at least 0: the ratio of the group's learning rate.
        floored_share: Share of coordinates that were raised to the floor.

    Example:
        ```python
        import torch

        from fisherscope.gram import DiagonalPreconditioner
        from fisherscope.gram.columns import Dense, ProductOptions

        columns, weight = Dense(torch.ones(2, 3), (3,)), torch.zeros(3)
        own = DiagonalPreconditioner(torch.full((3,), 4.0)).apply(columns, weight, ProductOptions())
        assert own.matrix(ProductOptions()).tolist() == [[0.5] * 3] * 2
        ```
    """

    diagonal: Tensor
    rate: float = 1.0
    floored_share: float = 0.0
    form: str = "diagonal"

    def apply(self, columns: Columns, parameter: Tensor, options: ProductOptions) -> Columns:
        columns = as_parameter(columns, parameter, options)
        factors = (self.rate / self.diagonal).sqrt().to(columns.device)
        return scale_columns(columns, factors.reshape(columns.size))

    def rank_one(self, parameter: Tensor) -> FactoredPreconditioner:
        """Return the nearest form rows[i]·across[j] of d.

        Row means times column means over the mean, as of d (r, q). Source: Shazeer & Stern 2018
        (Adafactor), who show it to be optimal in the I-divergence.

        Args:
            parameter: The parameter, of at least two dimensions and any floating dtype.

        Returns:
            The factored form.

        Example:
            ```python
            import torch

            from fisherscope.gram import DiagonalPreconditioner

            d = torch.tensor([[1.0, 2.0], [2.0, 4.0]])
            factored = DiagonalPreconditioner(d).rank_one(torch.zeros(2, 2))
            torch.testing.assert_close(factored.rows[:, None] * factored.across, d)
            ```
        """
        matrix = self.diagonal.reshape(len(self.diagonal), -1)
        rows, across = matrix.mean(1) / matrix.mean(), matrix.mean(0)
        return FactoredPreconditioner(rows, across, self.rate, self.floored_share)


@dataclass(frozen=True)
class FactoredPreconditioner(Preconditioner):
    """Hold P = rows[i]·across[j]/rate: of Adafactor, and the rank-one form of a diagonal.

    Args:
        rows: (r,), floating dtype, positive.
        across: (q,), positive.
        rate: Factor of P⁻¹.
        floored_share: Share of rows and columns that were raised to the floor.

    Example:
        ```python
        import torch

        from fisherscope.gram import FactoredPreconditioner
        from fisherscope.gram.columns import Dense, ProductOptions

        columns, weight = Dense(torch.ones(1, 4), (2, 2)), torch.zeros(2, 2)
        factored = FactoredPreconditioner(torch.tensor([1.0, 4.0]), torch.tensor([1.0, 16.0]))
        own = factored.apply(columns, weight, ProductOptions())
        assert own.matrix(ProductOptions()).tolist() == [[1.0, 0.25, 0.5, 0.125]]
        ```
    """

    rows: Tensor
    across: Tensor
    rate: float = 1.0
    floored_share: float = 0.0
    form: str = "factored"

    def apply(self, columns: Columns, parameter: Tensor, options: ProductOptions) -> Columns:
        columns = as_parameter(columns, parameter, options)
        rows = (self.rate / self.rows).sqrt().to(columns.device)
        return scale_by_rows_and_columns(columns, rows, self.across.rsqrt().to(columns.device))


@dataclass(frozen=True)
class MatrixPreconditioner(Preconditioner):
    """Hold P^{-1/2} as a matrix on the smaller side of a weight: of Muon.

    Args:
        root: P^{-1/2}, symmetric, (r, r) or (q, q), floating dtype.
        on_rows: Whether it acts on the first dimension.
        floored_share: Share of directions that the pseudo-inverse leaves out.

    Example:
        ```python
        import torch

        from fisherscope.gram import MatrixPreconditioner
        from fisherscope.gram.columns import Dense, ProductOptions

        columns, weight = Dense(torch.ones(1, 4), (2, 2)), torch.zeros(2, 2)
        own = MatrixPreconditioner(torch.diag(torch.tensor([1.0, 2.0])), True).apply(
            columns, weight, ProductOptions()
        )
        assert own.matrix(ProductOptions()).tolist() == [[1.0, 1.0, 2.0, 2.0]]
        ```
    """

    root: Tensor
    on_rows: bool
    floored_share: float = 0.0
    form: str = "matrix"

    def apply(self, columns: Columns, parameter: Tensor, options: ProductOptions) -> Columns:
        columns = as_parameter(columns, parameter, options)
        root = self.root.to(columns.device, columns.dtype)
        if isinstance(columns, Outer):
            if self.on_rows:
                return Outer(columns.left @ root, columns.right, columns.shape)
            return Outer(columns.left, columns.right @ root, columns.shape)
        dtype = options.of(torch.empty(0, dtype=columns.dtype))
        whole = columns.matrix(options).reshape(columns.samples, *columns.size)
        turned = root.to(dtype) @ whole if self.on_rows else whole @ root.to(dtype)
        return Dense(turned.flatten(1), columns.shape)
