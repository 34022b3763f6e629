"""Locate a call's output in the graph, even a view that is overwritten later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fisherscope.gram.interception.torch_private import base_of, is_view


@dataclass(frozen=True)
class OutputEdge:
    """A node of the graph, the number of its output, and how the call's output views that.

    Args:
        node: Whose gradient is that of the call's output.
        number: Which of the node's outputs.
        view: (size, stride, offset) of the call's output in the node's output; None where they are one.
    """

    node: Any
    number: int
    view: tuple[torch.Size, tuple[int, ...], int] | None = None

    @property
    def edge(self) -> Any:
        """As `torch.autograd.grad` takes it for an input."""
        return torch.autograd.graph.GradientEdge(self.node, self.number)

    def of_output(self, gradient: Tensor) -> Tensor:
        """Return the gradient of the call's output from that of the node's."""
        if self.view is None:
            return gradient
        size, stride, offset = self.view
        whole = gradient.contiguous()  # which may itself lie inside a larger gradient
        return whole.as_strided(size, stride, int(whole.storage_offset()) + offset)


def output_edge(output: Tensor, is_source: Callable[[Tensor], bool]) -> OutputEdge:
    """Return the edge of a call's output.

    Where the call made a view of a fresh tensor (a linear layer on three dimensions), the node of that
    tensor is
    the call's: what is written into the view later does not move it.

    Returns:
        The edge; through the base where the output is a view of a fresh tensor.
    """
    base = base_of(output)
    if is_view(output) and base is not None and base.grad_fn is not None and not is_source(base):
        view = output.shape, output.stride(), int(output.storage_offset() - base.storage_offset())
        return OutputEdge(base.grad_fn, base.output_nr, view)
    assert output.grad_fn is not None, "a call that receives a parameter has a node"
    return OutputEdge(output.grad_fn, output.output_nr)
