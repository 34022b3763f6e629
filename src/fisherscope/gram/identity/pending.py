"""A recorded call whose rows' samples are read before its backward pass begins."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fisherscope.gram.grouping import Grouping
from fisherscope.gram.interception.call_ids import Key
from fisherscope.gram.interception.output_edge import OutputEdge
from fisherscope.gram.rules.registry import Call


@dataclass
class PendingCall:
    """A call of a forward, how its rows should lie, and why if that is unknown.

    Args:
        key: Its name in every forward.
        call: What was recorded of it; `call.grouping` is set before its gradient arrives.
        edges: Its outputs' places in the graph, by output number.
        expected: The grouping that the plan says, in the numbers of its own forward; None where it says none.
        problem: Why the plan says none.
        output: What it returned first, where samples may have to be followed to it.
    """

    key: Key
    call: Call
    edges: list[tuple[int, OutputEdge]]
    expected: Grouping | None
    problem: str
    output: Tensor | None = None
