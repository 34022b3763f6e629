"""`record_gram`: the public door to the engine."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import Literal

import torch
from torch import nn

from fisherscope.gram.errors import GramError
from fisherscope.gram.finalize import finish
from fisherscope.gram.interception.model_parts import list_parts
from fisherscope.gram.interception.parameter_selection import Chosen, model_notes, unwrap
from fisherscope.gram.metric.optimizer_metric import OptimizerMetric, metric_of
from fisherscope.gram.options import (
    BatchOption,
    GramOptions,
    SampleOf,
    check_batch_size,
    check_choice,
    check_model,
    check_numbers,
    check_parameters,
    check_samples,
)
from fisherscope.gram.per_loss import per_loss_backward
from fisherscope.gram.ranks.joint_measurement import Standing
from fisherscope.gram.ranks.measure_with_ranks import others_never_wait
from fisherscope.gram.ranks.process_group import Group, Ranks, RanksError, find_ranks
from fisherscope.gram.record import GramRecord
from fisherscope.gram.recorder import Recorder
from fisherscope.gram.torch_check import refuse_failing_torch
from fisherscope.guard import Refusal, contain_errors, describe
from fisherscope.guard.compilation import leave_to_python, run_eagerly
from fisherscope.guard.custom_functions import custom_functions_seen
from fisherscope.guard.step_guard import Guard

_open = threading.local()


def record_gram(
    model: nn.Module,
    *,
    reduction: Literal["mean", "sum"] = "mean",
    batch: BatchOption = None,
    sample_of: SampleOf = None,
    batch_size: int | None = None,
    parameters: Chosen = None,
    semantics: Literal["path", "per_loss"] = "path",
    fused: bool = False,
    precision: Literal["default", "float64"] = "default",
    strict: bool = True,
    accumulate: bool = False,
    memory_budget: int = 128 << 20,
    loss_scale: float = 1.0,
    layers: bool = False,
    group: Group = "auto",
    spectrum: Literal["global", "rank", "off"] = "global",
    max_bytes: int = 1 << 30,
    metric: OptimizerMetric | torch.optim.Optimizer | None = None,
) -> GramRecording:
    """Measure the exact Gram matrix of the per-sample gradients of the step in a block.

    F̃[i, j] = ⟨g_i, g_j⟩ with g_i = B × sample i's share of this step's gradient of a mean loss (its share
    itself for a summed loss): Liao et al. 2020, eq. 6. The model runs as it is; nothing stays behind.

    Args:
        model: Any module. Its first call with a new kind of input is preceded by a probe of a few samples.
        reduction: Whether the loss is the batch's mean or its sum.
        batch: The dimension of the inputs that carries the samples, or one for each input by name or
            position ({"x": 1, "mask": None}), or a function of the model's inputs that returns it; found out
            where not given.
        sample_of: The sample of each row, where rows of the model's inputs are not samples: (rows,) whole
            numbers, or (b, t) for rows along two dimensions, -1 for a row of no sample; one such tensor for
            each kind of row (nodes, edges); or a function of the model's inputs that returns it
            (`fs.samples` has some). A tensor of more rows than a forward takes is that of all forwards of
            the step in turn.
        batch_size: Samples of the batch, where known: it tells several forwards of other samples from those
            of the same samples. If the Gram has another number, `doubts` of the record say so.
        parameters: Which to measure: a name, patterns such as "head.*", or a predicate (name, tensor) → bool.
        semantics: "path": sample i's share of the batch's gradient; "per_loss": ∇ℓ_i, through BatchNorm's
            coupling too, by `record.backward(losses)` and B + 1 backward passes.
        fused: Take parameters' gradients as sums of the per-sample ones: cheaper, and they differ from an
            unmeasured step's by rounding. Otherwise they are bit for bit the same.
        precision: "float64" forms all products in float64.
        strict: Raise where something can't be measured; otherwise leave it out and say so in the record.
        accumulate: The step has several backward passes (micro-batches, several losses): columns are kept
            until the block ends, n·p numbers where no cheaper form is known.
        memory_budget: Bytes that a block of per-sample gradients, or with `accumulate` all columns, may take.
        loss_scale: What the loss was multiplied by before `backward` (mixed precision): divided out.
        layers: Keep each parameter's Gram too (B² float64 a parameter).
        group: The processes whose batches make up one step: "auto", all ranks of `torch.distributed` where it
            is initialized; a process group; or False, this process alone. Every rank must open the block.
        spectrum: Of several ranks: "global", F̃ of all their samples; "rank", each rank's part, with trace,
            |ĝ|² and what follows from them of all; "off", these alone.
        max_bytes: Bytes that a rank may send for the global F̃; above, `spectrum` falls back to "rank".
        metric: The optimizer that steps the model, or an `OptimizerMetric`: `metric` of the record then
            holds F̃_P = Jᵀ P⁻¹ J beside F̃, P from the optimizer's state as it stands (docs/optimizers.md).

    Returns:
        A context manager that gives the `GramRecord`, filled when the block ends without an exception.

    Raises:
        GramError: On entry: an invalid argument, no trainable parameter, none chosen, an open
            recorder on the same parameters. On exit: nothing was measured. AmbiguousBatchError,
            NotSplittableError, IncompleteError: as `strict` says.

    Cost: about a parameter-gradient pass more, B²·P/2 multiplications or fewer, and one transfer from the
    device at the end.

    Example:
        ```python
        import torch

        import fisherscope as fs

        model = torch.nn.Linear(4, 3)
        x, y = torch.randn(8, 4), torch.randint(3, (8,))
        with fs.record_gram(model) as record:
            torch.nn.functional.cross_entropy(model(x), y).backward()
        assert record.gram.shape == (8, 8)
        ```
    """
    leave_to_python()
    check_model(model)
    check_choice("reduction", reduction, ("mean", "sum"))
    check_choice("semantics", semantics, ("path", "per_loss"))
    check_choice("precision", precision, ("default", "float64"))
    check_choice("spectrum", spectrum, ("global", "rank", "off"))
    check_numbers(memory_budget, loss_scale)
    check_samples(batch, sample_of)
    check_batch_size(batch_size)
    inner = unwrap(model)
    parts = list_parts(inner)
    check_parameters(parts.parameters)
    settings = GramOptions(
        semantics,
        reduction,
        batch,
        sample_of,
        batch_size,
        parameters,
        fused,
        precision,
        strict,
        accumulate,
        memory_budget,
        loss_scale,
        layers,
        group,
        spectrum,
        max_bytes,
        metric_of(metric),
    )
    guard = Guard()
    try:
        recorder = Recorder(inner, parts, settings, guard)
        notes = model_notes(model, inner, recorder.modules, recorder.ranks is None)
    except Refusal:
        raise
    except Exception as error:
        if strict:
            raise
        guard.fail(error)
        record = GramRecord(semantics, reduction=reduction)
        return GramRecording(None, record, guard, strict, _ranks_of(group))
    record = GramRecord(semantics, notes=notes, reduction=reduction)
    return GramRecording(recorder, record, guard, strict, recorder.ranks)


def _ranks_of(group: Group) -> Ranks | None:
    """Find the ranks that wait for this one; None where there are none, or none can be reached."""
    try:
        return find_ranks(group)
    except RanksError:
        return None


class GramRecording:
    """The `with` block of one `record_gram`; good for one use.

    Args:
        recorder: Of the step; None where it could not be made.
        record: What is filled at the block's end.
        guard: Of the step.
        strict: Raise, when the block ends, what the measurement ended with.
        ranks: That measure this step together, or None.
    """

    def __init__(
        self,
        recorder: Recorder | None,
        record: GramRecord,
        guard: Guard,
        strict: bool,
        ranks: Ranks | None = None,
    ) -> None:
        self._recorder, self._record, self._guard, self._strict = recorder, record, guard, strict
        self._ranks = ranks
        self._used = False

    def _recover_enter(self, error: Exception) -> GramRecord:
        """Leave the block unmeasured."""
        self._guard.close()
        self._guard.fail(error)
        return self._record

    @contain_errors(_recover_enter)
    def __enter__(self) -> GramRecord:
        if self._used:
            raise GramError(
                "record_gram(…): this context was used before; call record_gram(model) for each step."
            )
        self._used = True
        if self._recorder is None:
            return self._record
        try:
            self._open(self._recorder)
        except Refusal as refusal:
            self._guard.close()
            if self._strict:
                raise
            return self._recover_enter(refusal)
        return self._record

    def _open(self, recorder: Recorder) -> None:
        """Attach the recorder to the model; the guard undoes it.

        Raises:
            GramError: Another recorder is open on the same parameters.
        """
        refuse_failing_torch(record_gram)
        _check_alone(recorder)
        guard = self._guard
        guard.add_undo(recorder.detach)
        recorders = _open_recorders()
        recorders.append(recorder)
        guard.add_undo(recorders.remove, recorder)
        recorder.attach()
        if "torch._dynamo" in sys.modules:
            guard.add_context(run_eagerly())
        if self._record.semantics == "path":
            guard.add_context(custom_functions_seen())
            guard.add_mode(recorder.mode)
        else:
            form_columns = per_loss_backward(recorder)
            self._record.take_losses(lambda losses: guard.run(form_columns, losses))

    def _recover_exit(
        self,
        failure: Exception,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Say in the record what went wrong, and with `strict` raise it, unless the step itself failed."""
        self._guard.close()
        self._recorder = None
        if not isinstance(failure, Refusal) or self._record.status == "open":
            self._record.discard(describe(failure))
        if kind is None and self._strict:
            if isinstance(failure, Refusal):
                raise failure
            raise GramError(
                f"Measuring the Gram matrix: {describe(failure)}; the step itself is complete. Please report "
                "this fault."
            ) from failure

    @contain_errors(_recover_exit)
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._guard.close()
        recorder, self._recorder = self._recorder, None
        standing = Standing.FAILED if kind is None else Standing.LEFT
        with others_never_wait(self._ranks, standing):
            if kind is not None:
                self._record.status = f"nothing measured: the block ended with {kind.__name__}"
            elif self._guard.error is not None:
                self._recover_exit(self._guard.error, kind, error, trace)
            elif recorder is not None:
                finish(recorder, self._record)
        if recorder is not None:
            recorder.forget()


def _open_recorders() -> list[Recorder]:
    """Return the recorders that are open in this thread."""
    found: list[Recorder] = _open.__dict__.setdefault("recorders", [])
    return found


def _check_alone(recorder: Recorder) -> None:
    """Refuse a second recorder on one parameter: each would see the other's calls."""
    for other in _open_recorders():
        shared = {id(p) for p in other.parameters.values()} & {id(p) for p in recorder.parameters.values()}
        if shared:
            name = next(name for name, p in recorder.parameters.items() if id(p) in shared)
            raise GramError(
                f"record_gram(model): parameter {name!r} is being measured by another recorder that is "
                "still open; leave "
                "that `with` block first, or choose other parameters=…"
            )
