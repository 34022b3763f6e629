"""What a forward's graph says about rows, without running it: what may move them, and where."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from fisherscope.gram.identity.cotangents import BATCH_NORMS, has_own_backward
from fisherscope.gram.identity.graph_nodes import RowShapes, leaves_rows
from fisherscope.gram.identity.known_functions import function_name, moves_rows, stays_in_place
from fisherscope.gram.interception.torch_private import uses_batch_statistics


@dataclass
class Survey:
    """The graph below a forward's outputs.

    Args:
        signature: The same for two graphs whose static functions move rows alike.
        nodes: All nodes, numbered.
        order: The same in the order of their numbers.
        below: Of each node, the (number, place) of those that it leads to.
        roots: The numbers of the outputs' nodes.
        movers: Nodes that may move rows by data or by chance.
        spread: Nodes whose values are used along a dimension of samples that they do not have.
        ordering: Nodes that put samples in another order by numbers: their kind and those numbers.
        moved: Nodes below one that may move rows by data or by chance: whose each row is has to be read.
        batch_norms: Batch normalisations with the batch's own statistics.
        own: Nodes whose backward is Python code that nobody said may run twice.
        unknown: Names of functions that nobody said anything about and that may move rows.
    """

    signature: int = 0
    nodes: dict[Any, int] = field(default_factory=dict)
    order: list[Any] = field(default_factory=list)
    below: dict[Any, list[tuple[int, int]]] = field(default_factory=dict)
    roots: list[int] = field(default_factory=list)
    movers: list[Any] = field(default_factory=list)
    spread: list[Any] = field(default_factory=list)
    ordering: dict[Any, Any] = field(default_factory=dict)
    moved: set[Any] = field(default_factory=set)
    batch_norms: list[Any] = field(default_factory=list)
    own: list[Any] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def reached_from(self, nodes: Sequence[Any]) -> set[Any]:
        """List every node that a path leads to from one of these."""
        seen: set[Any] = set()
        stack = list(nodes)
        while stack:
            for number, _ in self.below.get(stack.pop(), ()):
                child = self.order[number]
                if number >= 0 and child not in seen:
                    seen.add(child)
                    stack.append(child)
        return seen


def survey_graph(
    roots: Sequence[Any],
    calls: Collection[Any],
    stop: Collection[Any],
    shapes: RowShapes,
    writes: Sequence[str] = (),
) -> Survey:
    """Walk the graph below some nodes.

    Args:
        roots: The nodes of the forward's outputs.
        calls: Nodes of recorded calls: what those do with rows is measured.
        stop: Nodes of other forwards' outputs, not walked past.
        shapes: How rows lie.
        writes: Places that the forward wrote into by numbers: the nodes of such writes don't keep them.

    Returns:
        What there is.

    Cost: some microseconds a node; nothing is computed.
    """
    survey = Survey()
    index, order = survey.nodes, list[Any]()
    for root in roots:
        if root not in index:
            index[root] = len(order)
            order.append(root)
    survey.roots = [index[root] for root in roots]
    tokens: list[Any] = [tuple(survey.roots)]
    spread, ordering = survey.spread, survey.ordering
    copies: list[Any] = []
    for node in order:  # which grows
        if node in stop and node not in roots:
            continue
        children = []
        for child, place in node.next_functions:
            if child is not None and child not in index:
                index[child] = len(order)
                order.append(child)
            children.append((index.get(child, -1), place))
        survey.below[node] = children
        kind = type(node).__name__
        if kind not in BATCH_NORMS and leaves_rows(kind):
            tokens.append((kind, *children))
            continue
        movers, values = len(survey.movers), len(spread)
        if kind in BATCH_NORMS and uses_batch_statistics(node):
            survey.batch_norms.append(node)
        elif kind == "CopySlices":
            copies.append(node)
        elif has_own_backward(node):
            _note_own(survey, node)
        elif shapes.may_move(kind, node, calls):
            survey.movers.append(node)
        else:
            spread.extend(shapes.spread(kind, node))
        numbers = shapes.numbers(kind, node)
        if shapes.reorders(kind, node, numbers):
            ordering[node] = kind, numbers
        found = len(survey.movers) - movers, *(index[value] for value in spread[values:])
        tokens.append((kind, numbers, found, *children))
    if copies:
        tokens.append(tuple(writes))
    if len(copies) > len(writes):  # into a view, where nothing says which
        survey.movers += copies
    survey.order = order
    survey.signature = hash(tuple(tokens))
    survey.moved = survey.reached_from(survey.movers)
    if spread:
        survey.moved |= {*spread, *survey.reached_from(spread)}
    if ordering:
        survey.moved |= _reached_in_two_orders(survey)
    return survey


def order_behind(order: int, survey: Survey, node: Any, position: int, child: int, place: int) -> int:
    """Name the order of samples behind a step from a node to what it is made of.

    Args:
        order: The order at the node.
        survey: Of the graph.
        node: The node.
        position: Which of its values it is.
        child: The number of the node where that comes from.
        place: Which of that node's outputs it is.

    Returns:
        The order there: the same number where no node has put samples in another one by numbers.
    """
    if node in survey.ordering:
        return hash((order, (survey.ordering[node], position)))
    if place and survey.order[child] in survey.ordering:
        return hash((order, place))
    return order


def _reached_in_two_orders(survey: Survey) -> set[Any]:
    """List the nodes that two paths lead to which put rows in different orders: data may choose one."""
    orders: dict[int, set[int]] = {number: {0} for number in survey.roots}
    stack = list(orders)
    while stack:
        number = stack.pop()
        node = survey.order[number]
        for position, (child, place) in enumerate(survey.below.get(node, ())):
            if child < 0:
                continue
            here = {order_behind(order, survey, node, position, child, place) for order in orders[number]}
            known = orders.setdefault(child, set())
            if len(known) < 2 and not here <= known:
                known |= here
                stack.append(child)
    return {survey.order[number] for number, found in orders.items() if len(found) > 1}


def _note_own(survey: Survey, node: Any) -> None:
    """Note a node whose backward is Python code: known to be repeatable, to stay in place, or neither."""
    known = moves_rows(node)
    if known is None:
        survey.own.append(node)
        if not stays_in_place(node):
            survey.unknown.append(function_name(node))
    elif known:
        survey.movers.append(node)
