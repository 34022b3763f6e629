"""Backward passes over the step's own graph that only name samples: they reach no parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from fisherscope.gram.interception.torch_private import (
    saved_batch_norm_weight,
    saved_batch_statistics,
    uses_batch_statistics,
)

BATCH_NORMS = frozenset(["NativeBatchNormBackward0", "CudnnBatchNormBackward0", "MiopenBatchNormBackward0"])


def gradients_at(
    outputs: Sequence[Tensor], edges: Sequence[Any], cotangents: Sequence[Tensor]
) -> list[Tensor | None]:
    """Differentiate Σ ⟨cotangent, output⟩ at graph edges and keep the graph.

    Batch normalisation takes its statistics as constants: with live statistics every row would hold a part
    of every
    sample, and nothing could be read.

    Args:
        outputs: Tensors with a graph.
        edges: `torch.autograd.graph.GradientEdge` of each place of interest.
        cotangents: One for each output, in its shape.

    Returns:
        One gradient for each edge; None where nothing reaches it.
    """
    with _constant_statistics([output.grad_fn for output in outputs]):
        return list(
            torch.autograd.grad(
                list(outputs), list(edges), list(cotangents), retain_graph=True, allow_unused=True
            )
        )


def nodes_above(roots: Sequence[Any]) -> Iterator[Any]:
    """Every node of the graphs below these outputs' nodes, each once."""
    seen: set[Any] = set()
    stack = [root for root in roots if root is not None]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        yield node
        stack.extend(following for following, _ in node.next_functions if following is not None)


def has_own_backward(node: Any) -> bool:
    """Whether a node's backward is Python code: run twice, it may do something twice."""
    custom = isinstance(node, torch.autograd.function.BackwardCFunction)
    return custom and type(node).__name__ != "SuppliedGradientsBackward"  # fused mode's own


@contextmanager
def _constant_statistics(roots: Sequence[Any]) -> Iterator[None]:
    handles: list[Any] = []
    try:
        handles += [
            node.register_hook(
                _constant_statistics_hook(saved_batch_statistics(node)[1], saved_batch_norm_weight(node))
            )
            for node in nodes_above(roots)
            if type(node).__name__ in BATCH_NORMS and uses_batch_statistics(node)
        ]
        yield
    finally:
        for handle in handles:
            handle.remove()


def _constant_statistics_hook(inverse_deviation: Tensor, weight: Tensor | None) -> Callable[[Any, Any], Any]:
    """Return a hook: batch norm's backward with mean and deviation as constants."""
    scale = inverse_deviation if weight is None else inverse_deviation * weight

    def hook(inputs: Any, outputs: Any) -> Any:
        gradient = outputs[0]
        if gradient is None or inputs[0] is None:
            return None
        shape = (1, -1, *(1,) * (gradient.dim() - 2))
        return (gradient * scale.detach().reshape(shape).to(gradient.dtype), *inputs[1:])

    return hook
