"""Calls in the user's own code, outside any module: penalties, losses with parameters, functional layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from fisherscope.gram.batch_axis.inference import CallLayout, is_penalty
from fisherscope.gram.batch_axis.loss_terms import SHARED, WEIGHTINGS, LossTerms
from fisherscope.gram.grouping import Layout
from fisherscope.gram.interception.provenance import ParameterSource, ParameterSources, tensors_in

_EXPANSIONS = frozenset(["expand", "expand_as", "broadcast_to", "repeat", "tile"])
_ROWS_BY_INDEX = frozenset(["getitem", "index_select", "embedding", "gather", "take"])


def outside_call(
    name: str,
    samples: int | None,
    values: dict[str, Any],
    out: Tensor,
    sources: ParameterSources,
    of_batch: Sequence[Tensor],
    terms: LossTerms,
) -> CallLayout:
    """How a call outside the model's forward treats the samples.

    A value that meets only parameters and constants is made of parameters alone (a penalty, a distance to
    earlier
    weights), whatever its shape: a dimension that the parameter itself spans is not the batch's.

    Args:
        name: The function.
        samples: Number of samples of the forwards so far; None before the first.
        values: Its arguments by name.
        out: Its output.
        sources: What is made of parameters.
        of_batch: Tensors that the model was given or gave.
        terms: Numbers that the loss made of all samples together.

    Returns:
        How the call treats the samples.
    """
    others = [tensor for _, tensor in tensors_in(values) if sources.get(tensor) is None]
    mine = [source for _, tensor in tensors_in(values) if (source := sources.get(tensor)) is not None]
    if name in _EXPANSIONS and samples is not None:
        return _expanded_layout(mine, out, samples)
    if not others or not any(_may_carry(name, t, mine, samples, of_batch) for t in others):
        return CallLayout(derived=True)
    if samples is None:
        return CallLayout(
            problem="it was called before the model's forward, so that the samples are not known yet"
        )
    if is_penalty(name, out.shape):
        return CallLayout(shared=True)
    if all(terms.are_terms(tensor) for tensor in others if tensor.grad_fn is not None):
        if name in SHARED:
            return CallLayout(shared=True)
        if name in WEIGHTINGS:
            return CallLayout(weighted=True)
    layouts = {}
    for argument, tensor in [*tensors_in(values), ("out", out)]:
        same = [dim for dim, size in enumerate(tensor.shape) if size == samples]
        if (
            len(same) > 1 and argument == "out"
        ):  # a width is as long: not a dimension that the parameter spans
            same = [dim for dim in same if not any(_spans(s.tensor, tensor, dim) for s in mine)]
        if len(same) == 1:
            layouts[argument] = Layout(same[0])
    if "out" in layouts:
        return CallLayout(layouts)
    return CallLayout(
        problem=f"it is called outside the model's forward, and its output {tuple(out.shape)} does not show "
        f"which dimension holds the {samples} samples"
    )


def _expanded_layout(mine: Sequence[ParameterSource], out: Tensor, samples: int) -> CallLayout:
    """Return the layout of parameters repeated for every sample."""
    dims = [
        dim
        for dim, size in enumerate(out.shape)
        if size == samples and not any(_spans(source.tensor, out, dim) for source in mine)
    ]
    return CallLayout({"out": Layout(dims[0])}) if dims else CallLayout(derived=True)


def _may_carry(
    name: str,
    tensor: Tensor,
    mine: Sequence[ParameterSource],
    samples: int | None,
    of_batch: Sequence[Tensor],
) -> bool:
    """Whether a tensor that is not made of parameters may hold the batch.

    Computed from it, part of it, or rows of it.

    Returns:
        Whether it may.
    """
    if tensor.grad_fn is not None or any(tensor is other or _shares(tensor, other) for other in of_batch):
        return True
    if samples is None:
        return tensor.dim() > 0 and name not in ("add", "sub", "mul", "div", "rsub", "pow")
    dims = [dim for dim, size in enumerate(tensor.shape) if size == samples]
    if name in _ROWS_BY_INDEX:
        return bool(dims)
    return any(not all(_spans(source.tensor, tensor, dim) for source in mine) for dim in dims)


def _spans(parameter: Tensor, tensor: Tensor, dim: int) -> bool:
    """Tell whether a broadcast parameter has entries of its own along a tensor's dimension."""
    place = dim - (tensor.dim() - parameter.dim())
    return place >= 0 and parameter.shape[place] == tensor.shape[dim] != 1


def _shares(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors lie in the same memory."""
    try:
        return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr() != 0
    except (RuntimeError, NotImplementedError):  # a tensor without storage
        return False
