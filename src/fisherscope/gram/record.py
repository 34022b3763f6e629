"""What a measurement gives: the Gram matrix and how far it can be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from fisherscope.gram.errors import GramError
from fisherscope.gram.metric.metric_gram import MetricRecord
from fisherscope.guard import contain_errors
from fisherscope.guard.function_mode import UserCall
from fisherscope.html_repr import columns


@dataclass(frozen=True)
class Coverage:
    """How one parameter was measured; see `GramRecord.coverage`.

    Attributes:
        parameter: Its name in the model.
        rule: The rules of its calls, joined by " + "; or why it was not measured.
        count: Its elements.
        measured: Whether it is part of the Gram.
    """

    parameter: str
    rule: str
    count: int
    measured: bool


@dataclass
class GramRecord:
    """One measured batch. Filled when the `with` block of `record_gram` ends.

    `gram` is F̃ (n, n), float64, on the CPU: inner products of the per-sample gradients g_i, not
    divided by the batch size (Liao et al. 2020, eq. 6): their sum is n × the step's gradient of a mean loss.

    Attributes:
        semantics: "path" or "per_loss", as `record_gram` was called.
        status: "open" inside the block; "ok"; else what is wrong, such as "partial: …" or "zero: …".
        batch_size: n.
        residuals: By parameter: |Σ columns − gradient| relative to the gradient.
        tolerances: By parameter: the largest residual that rounding explains.
        traces: By parameter: Σ|g_i|² of its elements.
        mean_squares: By parameter: |Σ g_i|².
        layers: By parameter, with `layers=True`: its Gram (n, n), float64.
        coverage: One row a trainable parameter.
        entry_error: Bound of the relative error of the diagonal's entries.
        notes: Remarks, such as parameters that were left out, and why.
        grouping: How it is known whose row is whose: "verified", "derived" or "unverified".
        loss: The batch's loss, as the step computed it; None where backward was not called on it.
        ranks: Processes whose samples it covers.
        local_batch_size: Samples of this process.
        spectrum: "global", "rank" or "off": whose samples `gram` holds.
        bytes_sent: Sent by this process for the measurement.
        metric: The same step in the optimizer's metric, where `metric` was given.
        wall_seconds: Time of the measurement beyond the step.
        probe_seconds: Time of finding the batch dimension, once a model and input signature.

    Example:
        ```python
        import torch

        import fisherscope as fs

        model = torch.nn.Linear(4, 3)
        with fs.record_gram(model, reduction="sum") as record:
            model(torch.randn(8, 4)).square().sum().backward()
        assert record.status == "ok"
        assert record.share_covered == 1.0
        assert record.by_rule() == {"affine": 15}
        ```
    """

    semantics: str = "path"
    status: str = "open"
    batch_size: int = 0
    residuals: dict[str, float] = field(default_factory=dict)
    tolerances: dict[str, float] = field(default_factory=dict)
    traces: dict[str, float] = field(default_factory=dict)
    mean_squares: dict[str, float] = field(default_factory=dict)
    layers: dict[str, Tensor] = field(default_factory=dict)
    coverage: list[Coverage] = field(default_factory=list)
    entry_error: float = float("nan")
    notes: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)  # notes of samples that may be others than were meant
    grouping: str = "unverified"
    loss: float | None = None
    ranks: int = 1
    local_batch_size: int = 0
    spectrum: str = "global"
    bytes_sent: int = 0
    wall_seconds: float = 0.0
    probe_seconds: float = 0.0
    metric: MetricRecord | None = None
    _gram: Tensor | None = None
    reduction: str = "mean"
    _form_columns: Callable[[Tensor], None] | None = None
    _call: UserCall | None = None

    def _recover_backward(self, error: Exception, losses: Tensor) -> None:
        """Let the step have its gradient; it is not measured."""
        if self._call is not None:
            self._call.outcome()
        else:
            self._pass_backward(losses)
        self._form_columns = None

    @contain_errors(_recover_backward)
    def backward(self, losses: Tensor) -> None:
        """Run the backward passes of semantics='per_loss' on the samples' losses (n,).

        The parameters receive the gradient of the mean (or sum).

        Args:
            losses: (n,), one loss a sample, floating dtype, with a graph.

        Raises:
            GramError: The record is of semantics='path', or `losses` is not of shape (n,).

        Cost: n + 1 backward passes.

        Example:
            ```python
            import torch

            import fisherscope as fs

            model = torch.nn.Linear(4, 3)
            with fs.record_gram(model, semantics="per_loss") as record:
                record.backward(model(torch.randn(8, 4)).square().sum(1))
            assert record.gram.shape == (8, 8)
            ```
        """
        if self.semantics != "per_loss":
            raise GramError(
                "record.backward(losses) belongs to record_gram(model, semantics='per_loss'); with "
                "semantics='path' "
                "call loss.backward() on the batch's loss."
            )
        if losses.dim() != 1:
            raise GramError(
                "record.backward(losses) with semantics='per_loss': received a tensor of shape "
                f"{tuple(losses.shape)}; "
                "expected one loss a sample, shape (n,), for example F.cross_entropy(..., reduction='none')."
            )
        if self._form_columns is not None:
            self._form_columns(losses)
        self._pass_backward(losses)

    def _pass_backward(self, losses: Tensor) -> None:
        """Run the step's own backward pass, once."""
        loss = losses.mean() if self.reduction == "mean" else losses.sum()
        self._call = UserCall(loss.backward, (), {})
        self._call()

    def take_losses(self, form_columns: Callable[[Tensor], None]) -> None:
        """Set what `backward` does before the step's own pass; `record_gram` calls it.

        Args:
            form_columns: Called with the losses, shape (n,), of the model's dtype; raises nothing.
        """
        self._form_columns = form_columns

    def fill(self, gram: Tensor) -> None:
        """Store the matrix; `record_gram` calls it at the end of its block.

        Args:
            gram: F̃ (n, n), float64, scaled to per-sample gradients, on the CPU; kept, not copied.

        Example:
            ```python
            import torch

            from fisherscope.gram import GramRecord

            record = GramRecord(status="ok")
            record.fill(torch.eye(3, dtype=torch.float64))
            assert record.measured and record.batch_size == 3
            ```
        """
        self._gram, self.batch_size, self.local_batch_size = gram, gram.shape[0], gram.shape[0]

    def fill_jointly(
        self, gram: Tensor | None, ranks: int, batch_size: int, local_batch_size: int, spectrum: str
    ) -> None:
        """Store what several ranks measured; `record_gram` calls it, see `fill`.

        Args:
            gram: F̃ (n, n), float64, scaled: of all samples where `spectrum` is "global", of this rank's
                where it is "rank"; None where it is "off".
            ranks: How many.
            batch_size: Samples of all ranks.
            local_batch_size: Samples of this rank.
            spectrum: "global", "rank" or "off".
        """
        self._gram, self.ranks, self.spectrum = gram, ranks, spectrum
        self.batch_size, self.local_batch_size = batch_size, local_batch_size

    @property
    def trace(self) -> float:
        """Tr F̃ = Σ|g_i|² over all samples of all ranks."""
        return math.fsum(self.traces.values())

    @property
    def mean_square(self) -> float:
        """|ĝ|², the squared length of the batch gradient, of all ranks."""
        return math.fsum(self.mean_squares.values()) / self.batch_size**2 if self.batch_size else math.nan

    def discard(self, status: str) -> None:
        """Drop what was measured, because it can't be trusted; `record_gram` calls it.

        Args:
            status: What went wrong.

        Example:
            ```python
            from fisherscope.gram import GramRecord

            record = GramRecord()
            record.discard("error: KeyError: 'weight'")
            assert not record.measured
            ```
        """
        self._gram, self._form_columns, self.status = None, None, status

    @property
    def gram(self) -> Tensor:
        """F̃, torch.float64, shape (n, n), on the CPU.

        Raises:
            GramError: nothing was measured; the text says why.
        """
        if self._gram is None:
            still = "the `with` block that fills it has not ended" if self.status == "open" else self.status
            raise GramError(f"this record holds no Gram matrix: {still}")
        if self.spectrum != "global":
            raise GramError(
                f"this record holds the Gram matrix of rank's own {self.local_batch_size} samples of "
                f"{self.batch_size} (`rank_gram`), not that of all {self.ranks} ranks: spectrum="
                f"{self.spectrum!r}"
            )
        return self._gram

    @property
    def rank_gram(self) -> Tensor:
        """F̃ of this rank's samples alone, (n, n) float64, where `spectrum` is not "global".

        Raises:
            GramError: Nothing was measured, or the Gram is that of all ranks.
        """
        if self._gram is None or self.spectrum == "global":
            raise GramError("this record holds no Gram matrix of one rank alone; see `gram`")
        return self._gram

    @property
    def measured(self) -> bool:
        """Whether the record holds a matrix."""
        return self._gram is not None or (self.ranks > 1 and bool(self.traces))

    @property
    def residual(self) -> float:
        """Largest relative difference of a parameter's columns' sum from its gradient."""
        return max(self.residuals.values(), default=float("nan"))

    @property
    def share_covered(self) -> float:
        """Measured numbers / trainable numbers."""
        total = sum(row.count for row in self.coverage)
        return sum(row.count for row in self.coverage if row.measured) / total if total else 0.0

    def by_rule(self) -> dict[str, int]:
        """Count the numbers of parameters measured by each rule.

        Returns:
            Numbers (elements of parameters) by the rule's name.
        """
        counts: dict[str, int] = {}
        for row in self.coverage:
            counts[row.rule] = counts.get(row.rule, 0) + row.count
        return counts

    def _repr_html_(self) -> str:
        rows = {"semantics": self.semantics, "status": self.status, "samples": f"{self.batch_size}"}
        if self._gram is not None:
            rows |= {
                "trace": f"{float(self._gram.trace()):.4g}", "residual": f"{self.residual:.1e}",
                "covered": f"{self.share_covered:.0%}",
                "rules": ", ".join(f"{rule} ({count:,})" for rule, count in self.by_rule().items()),
            }  # fmt: skip
        return columns(rows)

    def __repr__(self) -> str:
        size = (
            "nothing measured"
            if self._gram is None
            else f"{self.batch_size} samples, residual {self.residual:.1e}"
        )
        return f"GramRecord({self.semantics}, {self.status}: {size})"
