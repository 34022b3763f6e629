"""Which samples share a term of the loss: rows that are counted apart and may be one sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from fisherscope.gram.grouping import Grouping
from fisherscope.gram.identity.codes import draw_codes
from fisherscope.gram.identity.cotangents import has_own_backward
from fisherscope.gram.identity.row_ids import RowReading, merge_readings, read_rows
from fisherscope.gram.identity.tangents import DRAWS, random_like

MOST_REDUCTIONS = 8
"""Sums and means of a loss that are looked at: a loop over samples makes one for each."""

Output = tuple[Tensor, Grouping, Tensor]
"""An output of a forward, where its samples lie, and their numbers in the step."""


Reduction = tuple[Any, torch.Size, Any]
"""What a loss is a sum of: the edge of a tensor whose next use gives one number, its shape, its kind."""


def form_of(reductions: Sequence[Reduction]) -> tuple[Any, ...]:
    """Describe a loss by what it is a sum of: the same form is read once."""
    return tuple((type(edge.node).__name__, *shape) for edge, shape, _ in reductions)


def shared_terms(
    reductions: Sequence[Reduction], outputs: Sequence[Output], generator: torch.Generator
) -> list[tuple[int, ...]]:
    """Find the samples that share a term of the loss.

    The loss ends in sums or means. Cotangents at what is summed, scaled by a code for each term, name at
    each row of the model's output the term that it goes into. Rows that go into several (in-batch contrast)
    say nothing.

    Args:
        reductions: Of the loss.
        outputs: The outputs of the step's forwards that hold rows of samples.
        generator: Of the recorder's own random numbers.

    Returns:
        Groups of samples, each of which shares a term; none where every sample has terms of its own.

    Cost: three backward passes of the loss alone for each of its reductions, down to the outputs.
    """
    tensors = [tensor for tensor, _, _ in outputs]
    stops = {tensor.grad_fn for tensor in tensors}
    if not tensors or _has_own_backward([edge.node for edge, _, _ in reductions], stops):
        return []
    for edge, shape, like in reductions:
        for dim in range(min(len(shape), 2)):
            readings = _read_terms(edge, shape, like, dim, outputs, generator)
            if readings and all(reading.clean or not _any_row(reading) for reading in readings):
                groups = _groups(readings, outputs)
                if groups:
                    return groups
                break
    return []


def reductions_of(loss: Tensor) -> list[Reduction]:
    """List the first of what a loss is a sum of.

    Args:
        loss: One number, with a graph.

    Returns:
        At most `MOST_REDUCTIONS`.
    """
    return list(islice(_reductions(loss.grad_fn), MOST_REDUCTIONS))


def _reductions(root: Any) -> Iterator[Reduction]:
    stack, seen = [root], set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for following, number in node.next_functions:
            if following is None or hasattr(following, "variable"):
                continue
            meta = following._input_metadata[number]
            shape = torch.Size(meta.shape)
            if len(shape) == 0:
                stack.append(following)
            elif shape.numel() > 0 and not meta.is_nested_tensor:
                yield torch.autograd.graph.GradientEdge(following, number), shape, meta


def _has_own_backward(roots: Sequence[Any], stops: set[Any]) -> bool:
    """Tell whether a backward of the user's own lies between the loss and the outputs."""
    stack, seen = list(roots), set(stops)
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if has_own_backward(node):
            return True
        stack.extend(following for following, _ in node.next_functions)
    return False


def _read_terms(
    edge: Any, shape: torch.Size, like: Any, dim: int, outputs: Sequence[Output], generator: torch.Generator
) -> list[RowReading]:
    """Read which term along `dim` each row of each output goes into."""
    base = torch.empty(0, dtype=like.dtype, device=like.device)
    unit = random_like(base.new_empty(shape), generator)
    tensors = [tensor for tensor, _, _ in outputs]
    coarse = like.dtype in (torch.bfloat16, torch.float16)

    def gradients(cotangent: Tensor) -> list[Tensor | None]:
        return list(torch.autograd.grad([edge], tensors, [cotangent], retain_graph=True, allow_unused=True))

    plain = gradients(unit)
    found: dict[int, RowReading] = {}
    for _ in range(DRAWS):
        codes = draw_codes(shape[dim], generator, coarse)
        along = [1] * len(shape)
        along[dim] = -1
        passes = [gradients(unit * scales.reshape(along).to(unit)) for scales in codes.scales]
        now = {
            k: read_rows(first, [one[k] for one in passes], codes, of.dim, of.lead)  # type: ignore[misc]
            for k, (first, (_, of, _)) in enumerate(zip(plain, outputs, strict=True))
            if first is not None
        }
        found = merge_readings(found, now)
    silent = RowReading(0, 1, torch.full((1,), -1))
    return [found.get(k, silent) for k in range(len(outputs))] if found else []


def _any_row(reading: RowReading) -> bool:
    return bool((reading.ids != -1).any())


def _groups(readings: Sequence[RowReading], outputs: Sequence[Output]) -> list[tuple[int, ...]]:
    """List the samples of each term that several have."""
    samples: dict[int, set[int]] = {}
    for reading, (_, grouping, numbers) in zip(readings, outputs, strict=True):
        if not _any_row(reading):
            continue
        own = grouping.sample_of(len(reading.ids))
        for term, place in zip(reading.ids.tolist(), own.tolist(), strict=True):
            if term >= 0 and place >= 0:
                samples.setdefault(term, set()).add(int(numbers[place]))
    return [tuple(sorted(group)) for _, group in sorted(samples.items()) if len(group) > 1]
