"""The Gram of a user's model and batch against a loop over the samples, in float64, on copies."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fisherscope.gram import NotSplittableError, record_gram
from fisherscope.gram.interception.torch_private import tree_leaves, tree_map
from fisherscope.model_state import preserve_random_state, same_buffers, same_draws
from fisherscope.tasks import Subject
from fisherscope.verification.output_reference import output_columns
from fisherscope.verification.reference import UncheckableError, path_columns

EXACT = 1e-9
"""Relative Frobenius error that is rounding where everything runs in float64."""
SINGLE = 1e-4
"""The same where something runs in float32."""


@dataclass(frozen=True)
class Comparison:
    """One comparison of a Gram with a reference; see `Examination.proofs`.

    Attributes:
        way: How the reference was computed, in words.
        batch_size: Samples of the batch.
        error: Relative Frobenius error of the Gram; None if the comparison failed.
        allowed: The largest error that rounding explains.
        note: Why it failed, or a remark.
        independent: Whether it takes the samples from the data alone: one by one, or by the rows of the
            model's output. A comparison that masks rows of calls shares with the engine where a sample's
            rows lie.
    """

    way: str
    batch_size: int
    error: float | None  # |F̃ − JJᵀ|/|JJᵀ|, Frobenius
    allowed: float
    note: str = ""
    independent: bool = False
    contradicts: bool = False  # the Gram has another number of samples

    @property
    def exact(self) -> bool:
        """Whether the two agree; one that could not be made proves nothing."""
        return self.error is not None and self.error <= self.allowed

    def as_dict(self) -> dict[str, Any]:
        """Return the fields and `exact` as JSON values.

        Returns:
            Values by field; see `Examination.as_dict`.
        """
        return {
            "way": self.way, "batch_size": self.batch_size, "error": self.error, "allowed": self.allowed,
            "exact": self.exact, "note": self.note, "independent": self.independent,
        }  # fmt: skip


def count_mismatch(counted: int, drawn: int) -> Comparison:
    """Return the comparison of a Gram that has another number of samples than the batch."""
    note = f"could not be made: the Gram has {counted} samples and the batch {drawn}"
    return Comparison("each sample alone, in eval mode", drawn, None, EXACT, note, contradicts=True)


def compare_alone(subject: Subject, batch: Any, samples: list[Any]) -> Comparison:
    """Compare with each sample through the model alone, in eval mode, without the recorder.

    Where the loss weighs samples (a mean over tokens, class weights), columns may differ by one factor each.

    Returns:
        The comparison; its note says why where it could not be made.
    """
    way, size = "each sample alone, in eval mode", len(samples)
    try:
        model, wide, allowed = _to_double(subject, batch, training=False)
        _check_draws_nothing(subject, model, _cast_like(samples[0], wide))
        gram = _gram_of(subject, model, wide)
        if len(gram) != size:
            return count_mismatch(len(gram), size)
        columns = torch.stack([_gradient(subject, model, _cast_like(part, wide)) for part in samples])
    except Exception as error:  # noqa: BLE001  (whatever the user's model raises)
        return _failed_comparison(way, size, error)
    expected = columns @ columns.T
    miss, note = _relative_error(gram, expected), ""
    if miss > allowed:
        factors = (gram.diagonal() / expected.diagonal().clamp_min(1e-300)).sqrt()
        weighted_error = _relative_error(gram, expected * factors.outer(factors))
        if weighted_error <= allowed:
            miss, note = (
                weighted_error,
                f"the loss weighs samples, by {factors.min():.3g} to {factors.max():.3g}",
            )
    return Comparison(way, size, miss, allowed, note, independent=True)


def compare_in_training(subject: Subject, batch: Any, larger: Any, first: Any, size: int) -> Comparison:
    """Compare with each sample's share of this step's gradient, in training mode."""
    way = "each sample's share, in training mode"
    try:
        model, wide, allowed = _to_double(subject, batch, training=True)
        twin = copy.deepcopy(model)  # before a forward: some models then hold what can't be copied
        with same_draws():
            gram = _gram_of(subject, model, wide)
        parts = wide, _cast_like(larger, wide), _cast_like(first, wide)
        columns = path_columns(twin, subject.loss, *parts, size).double()
    except Exception as error:  # noqa: BLE001  (as above)
        return _failed_comparison(way, size, error)
    columns = columns * (size if subject.reduction == "mean" else 1)
    return Comparison(way, size, _relative_error(gram, columns @ columns.T), allowed)


def compare_by_outputs(subject: Subject, batch: Any, size: int) -> Comparison:
    """Compare with one backward pass a sample from its row of the model's output.

    Samples are rows of the output, in the labels' order or as `sample_of` says: nothing is assumed of rows
    inside the model. Not through BatchNorm in training mode, where a row of the output depends on every
    sample.

    Returns:
        The comparison; its note says why where it could not be made.
    """
    way = "each sample's row of the output, in training mode"
    try:
        model, wide, allowed = _to_double(subject, batch, training=True)
        twin = copy.deepcopy(model)
        with same_draws():
            gram = _gram_of(subject, model, wide)
        if len(gram) != size:
            return count_mismatch(len(gram), size)
        sample_of = subject.options.get("sample_of")
        columns = output_columns(twin, subject.loss, wide, size, sample_of).double()
    except Exception as error:  # noqa: BLE001  (as above)
        return _failed_comparison(way, size, error)
    columns = columns * (size if subject.reduction == "mean" else 1)
    return Comparison(way, size, _relative_error(gram, columns @ columns.T), allowed, independent=True)


def _failed_comparison(way: str, size: int, error: Exception) -> Comparison:
    if isinstance(error, NotSplittableError):
        why = "some parameters can't be split by sample (see the warnings)"
    elif isinstance(error, UncheckableError):
        why = str(error)
    else:
        why = f"{type(error).__name__}: {str(error)[:300]}"
    return Comparison(way, size, None, EXACT, f"could not be made: {why}")


def _to_double(subject: Subject, batch: Any, training: bool) -> tuple[nn.Module, Any, float]:
    """Copy the model and the batch in float64, or unchanged if that does not run."""
    source_model = subject.make()
    for dtype, allowed in ((torch.float64, EXACT), (None, SINGLE)):
        model = copy.deepcopy(source_model)
        model = (model if dtype is None else model.to(dtype)).train(training)
        wide = batch if dtype is None else _cast(batch)
        try:
            with preserve_random_state(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                loss_value = subject.loss(model, wide)
                loss_value.backward()
        except RuntimeError:
            if dtype is None:
                raise
            continue
        fresh = copy.deepcopy(source_model)  # buffers as they were
        fresh = (fresh if dtype is None else fresh.to(dtype)).train(training)
        return fresh, wide, SINGLE if loss_value.dtype != torch.float64 else allowed
    raise AssertionError("the last dtype is the model's own")


def _gram_of(subject: Subject, model: nn.Module, batch: Any) -> Tensor:
    with same_buffers(model), record_gram(model, **subject.options) as record:
        subject.loss(model, batch).backward()
    model.zero_grad()
    return record.gram


def _check_draws_nothing(subject: Subject, model: nn.Module, part: Any) -> None:
    losses = []
    for seed in (0, 1):
        with same_draws(seed), same_buffers(model):
            losses.append(float(subject.loss(model, part).detach()))
    if len(set(losses)) > 1 and not any(math.isnan(loss) for loss in losses):
        raise UncheckableError("the model draws random numbers in eval mode too")


def _gradient(subject: Subject, model: nn.Module, part: Any) -> Tensor:
    leaves = [p for p in model.parameters() if p.requires_grad]
    with _contiguous_gradients(model):
        grads = torch.autograd.grad(subject.loss(model, part), leaves, allow_unused=True)
    flat = [torch.zeros_like(p) if g is None else g.to_dense() for p, g in zip(leaves, grads, strict=True)]
    return torch.cat([(torch.view_as_real(g) if g.is_complex() else g).flatten().double() for g in flat])


@contextmanager
def _contiguous_gradients(model: nn.Module) -> Iterator[None]:
    """Pass gradients to batch norm in plain layout.

    torch 2.13 on the CPU misreads the gradient of a batch of one whose strides are permuted (tokens made of
    an image): the parameters' and the input's come out wrong, in eval and in training mode.
    """

    def straighten(module: nn.Module, inputs: Any, out: Tensor) -> None:
        if out.requires_grad:
            out.register_hook(torch.Tensor.contiguous)

    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    handles = [norm.register_forward_hook(straighten) for norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _relative_error(gram: Tensor, expected: Tensor) -> float:
    size = float(expected.norm())
    return float((gram - expected).norm()) / size if size else float(gram.norm())


def _cast(batch: Any) -> Any:
    return tree_map(lambda t: t.double() if _floats(t) else t, batch)


def _cast_like(part: Any, wide: Any) -> Any:
    """Return a part of the batch in the dtype that the whole was cast to."""
    dtypes = {t.dtype for t in tree_leaves(wide) if _floats(t)}
    return _cast(part) if torch.float64 in dtypes else part


def _floats(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
