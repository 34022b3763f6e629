"""Fused mode: the parameter's gradient is taken as the sum of the per-sample ones, formed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fisherscope.gram.interception.provenance import ParameterSource
from fisherscope.gram.interception.torch_private import has_saved_tensor_hooks, is_view

Totals = Callable[[Tensor], list[Tensor | None]]
"""Gradient of the call's output → gradients of its parameters, in their order."""


def attachable(name: str, sources: Mapping[str, ParameterSource], parameters: Mapping[str, Tensor]) -> bool:
    """Tell whether the call's parameters are plain leaves that can be cut off.

    Not under hooks on saved tensors: checkpointing compares what a part saves with what it saves run again.

    Returns:
        Whether they are.
    """
    if has_saved_tensor_hooks():
        return False
    return (name == "linear" or name.startswith("conv")) and all(
        len(source.leaves) == 1
        and source.tensor is parameters[source.leaves[0]]
        and not source.tensor.is_complex()
        for source in sources.values()
    )


def detached_call(
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    sources: Mapping[str, ParameterSource],
) -> Any:
    """Run the call with its parameters cut off: only the input's gradient is formed."""
    cut = {id(source.tensor): source.tensor.detach() for source in sources.values()}
    out = func(*(cut.get(id(a), a) for a in args), **{k: cut.get(id(v), v) for k, v in kwargs.items()})
    # A user's in-place operation on a view that a custom function returns is an error: return no view.
    return torch.ops.aten._unsafe_view(out, out.shape) if is_view(out) else out


def attach_parameters(out: Tensor, totals: Totals, sources: Mapping[str, ParameterSource]) -> Tensor:
    """Return `out` with gradients for the parameters that `detached_call` cut off."""
    result: Tensor = _Attached.apply(out, totals, *(s.tensor for s in sources.values()))  # type: ignore[no-untyped-call]
    return result


class _Attached(torch.autograd.Function):
    """Pass the gradient on, and the per-sample sums to the parameters."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, totals: Totals, *_: Tensor) -> Tensor:
        ctx.mark_dirty(out)  # the same memory: no copy, no view
        ctx.totals = totals
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient, None, *ctx.totals(gradient)
