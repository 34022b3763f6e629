"""Rows read as the step's own gradient arrives, against one pass of scaled cotangents before it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fisherscope.gram.grouping import Grouping, rows_grouping
from fisherscope.gram.identity.codes import Codes, draw_codes
from fisherscope.gram.identity.cotangents import gradients_at, has_own_backward
from fisherscope.gram.identity.identify import read_call, scale_by_codes
from fisherscope.gram.identity.pending import PendingCall
from fisherscope.gram.identity.row_ids import RowReading
from fisherscope.gram.identity.survey import Survey

_LONGEST_LOSS = 5000
"""Nodes of a loss that are looked at for a way around the model's outputs."""


@dataclass
class LateRows:
    """A call whose rows are read when its gradient arrives.

    Args:
        pending: The call.
        scaled: By output number, the gradient of the scaled cotangents.
        codes: Of each sample.
        settle: Gives the call its grouping, from what was read.
    """

    pending: PendingCall
    scaled: Mapping[int, Tensor]
    codes: Codes
    settle: Callable[[RowReading | None], None]

    def __call__(self, gradient: Any) -> None:
        """Read the rows from the gradient of the call's output, or from those of all outputs."""
        self.pending.call.late = None
        several = not isinstance(gradient, Tensor)
        for number, edge in self.pending.edges:
            mine = gradient[number] if several else gradient
            if mine is None or number not in self.scaled or not bool(mine.any()):
                continue
            reading = read_call(self.pending, number, mine, [edge.of_output(self.scaled[number])], self.codes)
            if reading is not None:
                self.settle(reading)
                return
            if not several:
                break
        self.settle(None)


def empty_rows(pending: PendingCall, samples: int) -> Grouping:
    """Return a grouping of rows that get no gradient, and so are nobody's."""
    return rows_grouping(torch.full((pending.call.out_shape[0],), -1), 0, samples)


def loss_cotangents(
    loss: Tensor, gradient: Tensor | None, outputs: Sequence[Tensor], calls: Collection[Any], survey: Survey
) -> list[tuple[int, Tensor]] | None:
    """Differentiate a loss by the model's outputs, if they are all that it takes from the model.

    Args:
        loss: Where the backward pass will begin.
        gradient: What it begins with; None for 1.
        outputs: The outputs that hold rows of samples.
        calls: Nodes of the calls to be read: none may be reached but through an output.
        survey: Of the graph below the outputs: where one output is made of another, there is no answer.

    Returns:
        (number of the output, its cotangent); None where the loss takes another way too, or where it can't be
        differentiated twice.
    """
    ends = {output.grad_fn: number for number, output in enumerate(outputs)}
    met: list[int] = []
    seen: set[Any] = set()
    stack = [loss.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in ends:
            met.append(ends[node])
            continue
        if node in calls or len(seen) > _LONGEST_LOSS or has_own_backward(node):
            return None
        stack.extend(child for child, _ in node.next_functions)
    if not met or (len(met) > 1 and survey.reached_from([outputs[k].grad_fn for k in met]) & ends.keys()):
        return None
    edges = [torch.autograd.graph.GradientEdge(outputs[k].grad_fn, outputs[k].output_nr) for k in met]  # type: ignore[arg-type]
    start = None if gradient is None else [gradient]
    found = torch.autograd.grad([loss], edges, start, retain_graph=True, allow_unused=True)
    return [(k, value) for k, value in zip(met, found, strict=True) if value is not None] or None


def scaled_gradients(
    outputs: Sequence[tuple[Tensor, Grouping]],
    cotangents: Sequence[tuple[int, Tensor]],
    pending: Sequence[PendingCall],
    samples: int,
    generator: torch.Generator,
) -> tuple[Codes, list[dict[int, Tensor]]]:
    """Run one pass with each sample's cotangent scaled by its code.

    Args:
        outputs: The forward's outputs and whose rows those are.
        cotangents: Those of the step's own pass.
        pending: The calls to be read.
        samples: Number of samples of the forward.
        generator: Of the recorder's own random numbers.

    Returns:
        The codes, and for each call the gradients of its outputs by number.
    """
    codes = draw_codes(samples, generator)
    scaled = [scale_by_codes(c, outputs[k][1], codes.scales[0]) for k, c in cotangents]
    edges = [(k, number, edge) for k, call in enumerate(pending) for number, edge in call.edges]
    found = gradients_at([outputs[k][0] for k, _ in cotangents], [edge.edge for *_, edge in edges], scaled)
    by_call: list[dict[int, Tensor]] = [{} for _ in pending]
    for (k, number, _), value in zip(edges, found, strict=True):
        if value is not None:
            by_call[k][number] = value
    return codes, by_call
