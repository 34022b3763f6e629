"""The record of one call, made when the call returns: what its columns will be formed from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from fisherscope.gram.batch_axis.inference import CallLayout
from fisherscope.gram.batch_axis.tracker import ForwardTracker
from fisherscope.gram.errors import NotSplittableError
from fisherscope.gram.grouping import Grouping, Layout, packed_rows, rows_grouping
from fisherscope.gram.identity.evidence import VERIFIED
from fisherscope.gram.interception.provenance import ParameterSource
from fisherscope.gram.rules import Call, Rule, rule_of
from fisherscope.gram.rules.recurrent import is_packed


def new_call(
    name: str,
    func: Callable[..., Any],
    rule: Rule,
    layout: CallLayout,
    inputs: dict[str, Any],
    sources: Mapping[str, ParameterSource],
    outputs: Sequence[Tensor],
    positional: int,
    random_state: Tensor | None,
    tracker: ForwardTracker,
) -> Call:
    """Build the record of a call that has just returned.

    Args:
        name: Canonical name of the function.
        func: The function itself.
        rule: What forms the columns of its parameters.
        layout: Where the samples lie, by the plan.
        inputs: Saved arguments by name.
        sources: Arguments that are made of parameters, by name.
        outputs: The tensors that the call returned, at least one.
        positional: Number of positional arguments.
        random_state: State of the generator before the call, if the rule runs the call again.
        tracker: Follows the forward that the call belongs to.

    Returns:
        The call, with an empty grouping: whose rows it holds is settled later.
    """
    out = outputs[0]
    parameters = {argument: source.tensor.detach() for argument, source in sources.items()}
    call = Call(
        name, func, inputs, positional, parameters, Grouping(0, Layout(0)), layout.layouts, out.shape,
        out.dtype, random_state, tracker.packed_order, entry=tracker.count, shared=layout.shared,
        weighted=layout.weighted,
    )  # fmt: skip
    if rule.keeps_outputs:
        call.outputs = [output.detach().clone() for output in outputs]  # it may be written into later
        nodes = [output.grad_fn for output in outputs]
        call.chained_outputs = len({id(node) for node in nodes}) == len(nodes)
    if rule.after_call is not None:
        rule.after_call(call, out)
    return call


def planned_grouping(layout: CallLayout, call: Call, tracker: ForwardTracker) -> tuple[Grouping | None, str]:
    """Give the call the grouping that its forward's plan says.

    Returns:
        The grouping and "", or None and why the plan has none.
    """
    if layout.shared:
        call.evidence = VERIFIED  # an equal share each, whoever they are
    try:
        if rule_of(call.name).name == "recurrent" and is_packed(call.values):
            rows = packed_rows(call.values["1"], tracker.packed_order)
            current = tracker.current
            grouping = rows_grouping(rows, samples=None if current is None else current.rows)
        else:
            grouping = tracker.grouping(layout, call.out_shape)
    except NotSplittableError as error:
        return None, str(error)
    call.grouping = grouping
    return grouping, ""
