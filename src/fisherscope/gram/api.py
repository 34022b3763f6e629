"""`record_gram`: the public door to the engine."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Literal

import torch
from torch import Tensor, nn

from fisherscope.gram.errors import GramError
from fisherscope.gram.finalize import finish
from fisherscope.gram.interception.parameter_selection import Chosen, model_notes, unwrap
from fisherscope.gram.interception.torch_function import custom_functions_seen
from fisherscope.gram.options import GramOptions, check_choice, check_model, check_numbers, check_samples
from fisherscope.gram.per_loss import per_loss_backward
from fisherscope.gram.ranks.joint_measurement import Standing
from fisherscope.gram.ranks.measure_with_ranks import others_never_wait
from fisherscope.gram.ranks.process_group import Group
from fisherscope.gram.record import GramRecord
from fisherscope.gram.recorder import Recorder

_open = threading.local()


def record_gram(
    model: nn.Module,
    *,
    reduction: Literal["mean", "sum"] = "mean",
    batch: int | Mapping[str, int | None] | None = None,
    sample_of: Tensor | Callable[..., Tensor] | None = None,
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
) -> GramRecording:
    """Measure the exact Gram matrix of the per-sample gradients of the step in a block.

    F̃[i, j] = ⟨g_i, g_j⟩ with g_i = B × sample i's share of this step's gradient of a mean loss (its share
    itself for a summed loss): Liao et al. 2020, eq. 6. The model runs as it is; nothing stays behind.

    Args:
        model: Any module. Its first call with a new kind of input is preceded by a probe of a few samples.
        reduction: Whether the loss is the batch's mean or its sum.
        batch: The dimension of the inputs that carries the samples, or one for each input by name or
            position ({"x": 1, "mask": None}); found out where not given.
        sample_of: (rows,) integers: the sample of each row, where the model's inputs are flattened rows.
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
    check_model(model)
    check_choice("reduction", reduction, ("mean", "sum"))
    check_choice("semantics", semantics, ("path", "per_loss"))
    check_choice("precision", precision, ("default", "float64"))
    check_choice("spectrum", spectrum, ("global", "rank", "off"))
    check_numbers(memory_budget, loss_scale)
    check_samples(batch, sample_of)
    inner = unwrap(model)
    settings = GramOptions(
        semantics,
        reduction,
        batch,
        sample_of,
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
    )
    recorder = Recorder(inner, settings)
    record = GramRecord(semantics, notes=model_notes(model, inner, recorder.modules, recorder.ranks is None))
    return GramRecording(recorder, record)


class GramRecording:
    """The `with` block of one `record_gram`; good for one use."""

    def __init__(self, recorder: Recorder, record: GramRecord) -> None:
        self._recorder, self._record = recorder, record
        self._stack = ExitStack()
        self._used = False

    def __enter__(self) -> GramRecord:
        if self._used:
            raise GramError(
                "record_gram(…): this context was used before; call record_gram(model) for each step."
            )
        self._used = True
        _check_alone(self._recorder)
        with ExitStack() as stack:
            stack.callback(self._recorder.detach)
            self._recorder.attach()
            _open_recorders().append(self._recorder)
            stack.callback(_open_recorders().remove, self._recorder)
            if "torch._dynamo" in sys.modules:
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            if self._record.semantics == "path":
                stack.enter_context(custom_functions_seen())
                stack.enter_context(self._recorder.mode)
            else:
                self._record.take_losses(per_loss_backward(self._recorder))
            self._stack = stack.pop_all()
        return self._record

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with others_never_wait(self._recorder.ranks, Standing.FAILED if kind is None else Standing.LEFT):
            self._stack.__exit__(kind, error, trace)
            if kind is None:
                finish(self._recorder, self._record)
            else:
                self._record.status = f"nothing measured: the block ended with {kind.__name__}"


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
