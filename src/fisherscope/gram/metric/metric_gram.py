"""The sums of a measurement in the optimizer's metric, and what its record holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fisherscope.gram.accumulation.parameter_uses import ParameterUse, covers_leaf, disjoint_uses, on_leaf
from fisherscope.gram.columns import Columns, Outer, ProductOptions, TiedColumns, symmetric_product
from fisherscope.gram.errors import GramError
from fisherscope.gram.metric.optimizer_metric import OptimizerMetric, Preconditioners
from fisherscope.gram.metric.optimizers import NoStateError
from fisherscope.gram.metric.preconditioners import DiagonalPreconditioner, Preconditioner

SMALL = 1 << 14
"""Numbers up to which a layer is taken exactly, whatever its cheaper form."""
POOLED = 4096
"""Columns of small parameters that are multiplied at once."""
STEPPED = "the optimizer stepped inside the block: its state holds the measured batch, which biases the scale"
RANKS = (
    "several ranks: the optimizer's state is not sliced as the columns are; measured in the Euclidean metric"
)


@dataclass
class MetricRecord:
    """Hold what a measurement says in the optimizer's metric; see `GramRecord.metric`.

    Attributes:
        name: The optimizer's class.
        status: "ok", or why there is no Gram.
        forms: By parameter, the form in which P was taken: "scalar", "diagonal", "factored", "rank-one",
            "matrix", or "left out" where the optimizer does not move it.
        floored_share: By parameter, the share of coordinates raised to the floor, or of directions left out.
        traces: By parameter: Σ|P^{-1/2} g_i|².
        mean_squares: By parameter: |Σ P^{-1/2} g_i|².
        error: Relative Frobenius error of the Gram by its rank-one forms; 0 if there are none, NaN if it was
            not measured.

    Its `gram` has shape (n, n), dtype float64.

    Example:
        ```python
        import torch

        import fisherscope as fs

        model = torch.nn.Linear(4, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with fs.record_gram(model, metric=optimizer) as record:
            model(torch.randn(8, 4)).square().sum(1).mean().backward()
        assert record.metric.status == "ok" and record.metric.name == "SGD"
        ```
    """

    name: str
    status: str = "open"
    forms: dict[str, str] = field(default_factory=dict)
    floored_share: dict[str, float] = field(default_factory=dict)
    traces: dict[str, float] = field(default_factory=dict)
    mean_squares: dict[str, float] = field(default_factory=dict)
    error: float = float("nan")
    _gram: Tensor | None = None

    @property
    def measured(self) -> bool:
        """Whether there is a Gram."""
        return self._gram is not None

    @property
    def gram(self) -> Tensor:
        """F̃_P = Jᵀ P⁻¹ J, torch.float64, shape (n, n), on the CPU.

        Raises:
            GramError: There is none; the text says why.
        """
        if self._gram is None:
            raise GramError(f"this record holds no Gram matrix in the metric of {self.name}: {self.status}")
        return self._gram

    def fill(self, gram: Tensor) -> None:
        """Store the matrix; `record_gram` calls it at the end of its block.

        Args:
            gram: F̃_P (n, n), float64, scaled as F̃; kept, not copied.

        Example:
            ```python
            import torch

            from fisherscope.gram import MetricRecord

            record = MetricRecord("Adam")
            record.fill(torch.eye(3, dtype=torch.float64))
            assert record.measured and record.status == "ok"
            ```
        """
        self._gram, self.status = gram, "ok"


class MetricGram:
    """Add up F̃_P while the columns of a step are formed.

    Args:
        metric: What was asked for.
        parameters: Measured parameters by name.
        options: How products are formed.
    """

    def __init__(
        self, metric: OptimizerMetric, parameters: Mapping[str, Tensor], options: ProductOptions
    ) -> None:
        self.metric, self._options, self._parameters = metric, options, parameters
        self._preconditioners = Preconditioners(metric, parameters)
        self.record = MetricRecord(metric.name)
        self.gram: Tensor | None = None
        self._difference: Tensor | None = None  # of the rank-one forms from the exact ones
        self._pool: list[Tensor] = []
        self._sums: dict[str, tuple[Tensor, Tensor]] = {}
        self.problem = ""

    def drop(self) -> None:
        """Forget the passes so far."""
        self.gram, self._difference, self._pool, self._sums = None, None, [], {}

    def add(self, name: str, uses: list[ParameterUse], leaf: Tensor) -> None:
        """Add a parameter of a step of one pass; what goes wrong ends the metric alone.

        Args:
            name: The parameter.
            uses: Its columns.
            leaf: The parameter, real.
        """
        if self.problem:
            return
        try:
            disjoint = disjoint_uses(uses, leaf, self._options)
            if len(disjoint) > 1 or not covers_leaf(disjoint[0].geometry, leaf):
                disjoint = [on_leaf(uses, leaf, self._options)]
            self._add_columns(name, disjoint[0].columns, leaf)
        except NoStateError as error:
            self.problem = f"no state yet: {error}"
        except Exception as error:  # noqa: BLE001  (the step and its Euclidean Gram go on)
            self.problem = f"error: {name}: {type(error).__name__}: {error}"

    def add_passes(
        self, passes: Mapping[str, dict[int, Columns]], places: dict[int, slice], total: int
    ) -> None:
        """Add the columns kept from several backward passes.

        Args:
            passes: By parameter and pass, the columns.
            places: By pass, its rows of the Gram.
            total: Rows of the Gram.
        """
        try:
            for name, by_pass in passes.items():
                leaf = self._leaf(name)
                own = {k: self._apply(name, columns, leaf) for k, columns in by_pass.items()}
                gram = torch.zeros(total, total, dtype=torch.float64)
                for a, left in own.items():
                    for b, right in own.items():
                        if left is not None and right is not None:
                            gram[places[a], places[b]] = left.cross(right, self._options).cpu()
                self._add_gram(name, gram)
        except NoStateError as error:
            self.problem = f"no state yet: {error}"
        except Exception as error:  # noqa: BLE001  (as above)
            self.problem = f"error: {type(error).__name__}: {error}"

    def _leaf(self, name: str) -> Tensor:
        leaf = self._parameters[name].detach()
        return torch.view_as_real(leaf) if leaf.is_complex() else leaf

    def _apply(self, name: str, columns: Columns, leaf: Tensor) -> Columns | None:
        """Return the columns of P^{-1/2} g_i; None where the optimizer does not move the parameter."""
        preconditioner = self._preconditioners.of(name)
        if preconditioner is None:
            self.record.forms[name] = "left out"
            return None
        self.record.forms[name], self.record.floored_share[name] = (
            preconditioner.form,
            preconditioner.floored_share,
        )
        if self._takes_rank_one(preconditioner, columns, leaf):
            assert isinstance(preconditioner, DiagonalPreconditioner), "as `_takes_rank_one` says"
            self.record.forms[name] = "rank-one"
            return preconditioner.rank_one(leaf).apply(columns, leaf, self._options)
        return preconditioner.apply(columns, leaf, self._options)

    def _takes_rank_one(self, preconditioner: Preconditioner, columns: Columns, leaf: Tensor) -> bool:
        outer = columns.outer if isinstance(columns, TiedColumns) else columns
        if not isinstance(preconditioner, DiagonalPreconditioner) or leaf.dim() < 2:
            return False
        if self.metric.form != "auto" or not isinstance(outer, Outer):
            return self.metric.form == "rank-one"
        return leaf.numel() > SMALL and outer.pairwise_is_cheaper(self._options)

    def _add_columns(self, name: str, columns: Columns, leaf: Tensor) -> None:
        own = self._apply(name, columns, leaf)
        if own is None:
            return
        approximate = self.record.forms[name] == "rank-one"
        if leaf.numel() <= POOLED and not approximate and not isinstance(own, Outer | TiedColumns):
            self._add_small(name, own)
            return
        gram = self._products(own)
        self._add_gram(name, gram)
        if approximate and self.metric.check:
            preconditioner = self._preconditioners.of(name)
            assert preconditioner is not None, "applied above"
            difference = gram - self._products(preconditioner.apply(columns, leaf, self._options))
            self._difference = difference if self._difference is None else self._difference + difference

    def _products(self, columns: Columns) -> Tensor:
        if type(columns).products is Columns.products:  # of blocks: their sum need not be formed
            return columns.multiply(self._options, summed=False).gram
        return columns.products(self._options).gram

    def _add_small(self, name: str, columns: Columns) -> None:
        matrix = columns.matrix(self._options)
        sums = matrix.square().sum(dtype=torch.float64), matrix.sum(0).square().sum(dtype=torch.float64)
        self._sums[name] = sums
        self._pool.append(matrix)
        if sum(part.shape[1] for part in self._pool) >= POOLED:
            self._empty_pool()

    def _empty_pool(self) -> None:
        by_kind: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for matrix in self._pool:
            by_kind.setdefault((matrix.dtype, matrix.device), []).append(matrix)
        self._pool = []
        for parts in by_kind.values():
            self._add(symmetric_product(torch.cat(parts, 1)))

    def _add_gram(self, name: str, gram: Tensor) -> None:
        self._sums[name] = gram.diagonal().sum(), gram.sum()
        self._add(gram)

    def _add(self, gram: Tensor) -> None:
        self.gram = gram.clone() if self.gram is None else self.gram.add_(gram.to(self.gram.device))

    def finish(self, factor: float) -> MetricRecord:
        """Return the record.

        Args:
            factor: What the columns are multiplied by: the batch size for a mean loss, over the loss scale.

        Returns:
            The record, with a Gram or a status that says why there is none.
        """
        record = self.record
        if not self.problem and self._preconditioners.has_stepped():
            self.problem = STEPPED
        if not self.problem:
            self._empty_pool()
        if self.gram is None and not self.problem:
            self.problem = "no measured parameter is in a group of the optimizer"
        if self.problem or self.gram is None:
            record.status = self.problem
            return record
        gram = self.gram.cpu()
        if "rank-one" not in record.forms.values():
            record.error = 0.0
        elif self._difference is not None:
            exact = gram - self._difference.cpu()
            record.error = float(self._difference.norm() / exact.norm())
        for name, (trace, total) in self._sums.items():
            record.traces[name] = float(trace) * factor**2
            record.mean_squares[name] = float(total) * factor**2
        record.fill((gram + gram.T).mul_(factor**2 / 2))
        return record
