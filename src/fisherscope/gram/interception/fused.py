"""Fused mode: the parameter's gradient is taken as the sum of the per-sample ones, formed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fisherscope.gram.interception.provenance import ParameterSource
from fisherscope.gram.interception.torch_private import has_saved_tensor_hooks, is_view
from fisherscope.guard.step_guard import Guard
from fisherscope.guard.supplied_gradients import SuppliedGradients, Totals


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


def attach_parameters(
    out: Tensor, guard: Guard, totals: Totals, plain: Totals, sources: Mapping[str, ParameterSource]
) -> Tensor:
    """Return `out` with gradients for the parameters that `detached_call` cut off.

    Args:
        out: Output of the call.
        guard: Of the step.
        totals: Forms the gradients as sums over the samples.
        plain: Forms them without samples, where `totals` fails.
        sources: The parameters.
    """
    parameters = (source.tensor for source in sources.values())
    result: Tensor = SuppliedGradients.apply(out, guard, totals, plain, *parameters)  # type: ignore[no-untyped-call]
    return result
