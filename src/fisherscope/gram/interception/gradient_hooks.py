"""Hearing the gradient of a call's output, also where the output is a view that is overwritten later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fisherscope.gram.interception.output_edge import OutputEdge, output_edge
from fisherscope.gram.interception.torch_private import disable_torch_function, set_grad_enabled


def register_output_hook(
    results: list[Tensor],
    report: Callable[[Tensor], None],
    is_source: Callable[[Tensor], bool],
    hook: Callable[[Callable[..., object]], Callable[..., None]],
) -> Any:
    """Call `report(gradient)` when the gradient of a call's first output is complete.

    The hook sits on the graph node, not the tensor: an output that is a view and is written into later
    (an in-place activation) would never fire. Where the call made a view of a fresh tensor (a linear
    layer on three dimensions), the node of that tensor is the call's.

    Args:
        results: Outputs of the call.
        report: Receives the gradient.
        is_source: Tells whether a tensor is made of parameters alone.
        hook: Makes a function one that torch may call: `Guard.hook`.

    Returns:
        A handle that removes the hook.
    """
    place = output_edge(results[0], is_source)
    return place.node.register_prehook(hook(lambda gradients: _report_gradient(gradients, place, report)))


def register_outputs_hook(
    results: list[Tensor],
    report: Callable[[Any], None],
    hook: Callable[[Callable[..., object]], Callable[..., None]],
) -> Any:
    """Call `report(gradients)` once the gradients of all outputs that are used arrive."""
    return torch.autograd.graph.register_multi_grad_hook(
        [result for result in results if result.requires_grad], hook(report), mode="all"
    )


class NoDispatch:
    """Switch off gradient recording, autocast and interception while columns are formed.

    Entered once or twice for each call of a measured step: three switches, no stack of contexts.
    """

    def __init__(self, gradient: Any) -> None:
        self._device = gradient.device.type if isinstance(gradient, Tensor) else "cpu"

    def __enter__(self) -> None:
        self._guard = disable_torch_function()
        self._guard.__enter__()
        self._recorded, self._cast = torch.is_grad_enabled(), torch.is_autocast_enabled(self._device)
        set_grad_enabled(False)
        if self._cast:
            torch.set_autocast_enabled(self._device, False)

    def __exit__(self, *error: object) -> None:
        if self._cast:
            torch.set_autocast_enabled(self._device, True)
        set_grad_enabled(self._recorded)
        self._guard.__exit__(None, None, None)


def _report_gradient(
    gradients: tuple[Tensor | None, ...], place: OutputEdge, report: Callable[[Tensor], None]
) -> None:
    gradient = gradients[place.number]
    if gradient is not None:
        report(place.of_output(gradient))
