"""From which call above it each call may take its rows: found once for graphs of one signature."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fisherscope.gram.identity.graph_nodes import leaves_rows
from fisherscope.gram.identity.pending import PendingCall
from fisherscope.gram.identity.survey import Survey, order_behind
from fisherscope.gram.interception.call_ids import Key

_OUTPUTS = -1
"""In place of the number of a call's node: rows lie as in the forward's outputs."""
Label = tuple[int, int]
"""Whose rows a node's rows follow: the number of a call's node, and in which order by numbers."""


@dataclass(frozen=True)
class Carrier:
    """The call that another one takes its rows from.

    Args:
        key: Its name.
        place: The number of its node in the graph.
        own_place: The number of the other call's node.
    """

    key: Key
    place: int
    own_place: int


def find_carriers(calls: Sequence[PendingCall], survey: Survey, apart: set[Key]) -> dict[Key, Carrier]:
    """Find calls to which every path from the outputs leads through one other, and moves no rows below that.

    Args:
        calls: Those whose rows have to be read.
        survey: Of the graph.
        apart: Calls that take over none.

    Returns:
        By a call's key, where its rows come from: the topmost such call.

    Cost: some microseconds a node.
    """
    at = Counter(node_place(call, survey) for call in calls)
    calls_at = {node_place(call, survey): call for call in calls}
    movers, spread = set(survey.movers), set(survey.spread)
    carriers: dict[Key, Carrier] = {}
    labels: dict[int, Label | None] = dict.fromkeys(survey.roots, (_OUTPUTS, 0))
    for number in _from_the_outputs(survey):
        node = survey.order[number]
        label = None if node in spread else labels.get(number)
        call = calls_at.get(number)
        if call is not None:
            if at[number] > 1 or not _is_simple(call):
                label = None
            elif label is not None and label[0] != _OUTPUTS and call.key not in apart:
                carriers[call.key] = Carrier(calls_at[label[0]].key, label[0], number)
            else:
                label = (number, 0)
        if node in movers or type(node).__name__ == "CopySlices":
            label = None
        for position, (child, place) in enumerate(survey.below.get(node, ())):
            if child < 0:
                continue
            here = (
                None
                if label is None
                else (label[0], order_behind(label[1], survey, node, position, child, place))
            )
            labels[child] = here if child not in labels or labels[child] == here else None
    return carriers


def _from_the_outputs(survey: Survey) -> list[int]:
    """List the numbers of the nodes, each after all that lead to it."""
    waiting = Counter(child for below in survey.below.values() for child, _ in below if child >= 0)
    ready = [number for number in range(len(survey.order)) if not waiting[number]]
    found = []
    while ready:
        number = ready.pop()
        found.append(number)
        for child, _ in survey.below.get(survey.order[number], ()):
            if child >= 0:
                waiting[child] -= 1
                if not waiting[child]:
                    ready.append(child)
    return found


def _is_simple(call: PendingCall) -> bool:
    """Tell whether a call has one output, whose rows are those of its node."""
    name = call.call.name.removesuffix("_cell")
    recurrent = name in ("lstm", "gru", "rnn_tanh", "rnn_relu")
    if len(call.edges) != 1 or recurrent or not call.call.out_shape:
        return False
    edge = call.edges[0][1]
    kind = type(edge.node).__name__
    return bool(edge.number == 0 and (leaves_rows(kind) or len(edge.node._input_metadata) == 1))


def node_place(call: PendingCall, survey: Survey) -> int:
    """Return the number of a call's node; -1 where no path leads to it."""
    return survey.nodes.get(call.edges[0][1].node, -1) if call.edges else -1
