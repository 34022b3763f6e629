"""Elementwise functions of broadcast operands: sums over all but the sample; and `expand` itself."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from fisherscope.gram.columns import Columns, Dense
from fisherscope.gram.rules.registry import Call, Rule, UnsuitedError, register


def reduce_to_parameter(call: Call, gradient: Tensor, shape: torch.Size) -> Dense:
    """Sum a gradient of the output's layout over what `shape` was broadcast along: (n, p)."""
    aligned = (1,) * (gradient.dim() - len(shape)) + tuple(shape)
    grouping = call.grouping
    if grouping.rows is not None and (grouping.lead > 1 or aligned[grouping.dim] != 1):
        return _reduced_by_rows(call, gradient, aligned, shape)
    if aligned[grouping.dim] != 1:
        raise UnsuitedError("the parameter has entries of its own for rows of the batch")
    split = call.split(gradient)
    others = [size for axis, size in enumerate(aligned) if axis != grouping.dim]
    axes = [1] + [axis + 2 for axis, size in enumerate(others) if size == 1]
    return Dense(
        split.sum(axes).flatten(1)
        if len(axes) <= split.dim() - 2
        else split.sum(axes).reshape(len(split), -1),
        shape,
    )


def _reduced_by_rows(call: Call, gradient: Tensor, aligned: tuple[int, ...], shape: torch.Size) -> Dense:
    """Sum entry by entry where rows of a sample meet different entries of the parameter."""
    grouping = call.grouping
    lead = grouping.lead
    if lead == 1:
        gradient = gradient.movedim(grouping.dim, 0)
        aligned = (aligned[grouping.dim], *(s for axis, s in enumerate(aligned) if axis != grouping.dim))
    if lead == 1 and grouping.dim != 0 and len(shape) > 1:
        raise UnsuitedError("the parameter has entries of its own for rows that do not come first")
    leading, trailing = aligned[:lead], aligned[lead:]
    entries = math.prod(leading)
    slots = torch.arange(entries).reshape(leading).expand(gradient.shape[:lead]).flatten()
    ids = grouping.sample_of(len(slots))
    rows = gradient.flatten(0, lead - 1) if lead > 1 else gradient
    axes = [axis + 1 for axis, size in enumerate(trailing) if size == 1]
    rows = (rows.sum(axes) if axes else rows).reshape(len(slots), -1)
    mine = ids >= 0
    place = (ids * entries + slots)[mine].to(rows.device)
    out = rows.new_zeros(call.samples * entries, rows.shape[1])
    out.index_add_(0, place, rows[mine.to(rows.device)])
    return Dense(out.reshape(call.samples, -1), shape)


def add(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """Form the columns of x + alpha·w and x - alpha·w: the gradient up to its factor."""
    columns: dict[str, Columns] = {}
    for name, parameter in call.parameters.items():
        factor = call.get("alpha", 1) if name == "other" and call.name in ("add", "sub") else 1
        sign = -1 if name == "other" and call.name == "sub" else 1
        plain = reduce_to_parameter(call, gradient, parameter.shape)
        columns[name] = (
            plain if factor * sign == 1 else Dense(plain.gradients * (factor * sign), parameter.shape)
        )
    return columns


def elementwise(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """Form the columns of any elementwise function from expanded parameters.

    Returns:
        Columns by argument name.
    """
    from fisherscope.gram.rules.replay import run_again

    columns: dict[str, Columns] = {}
    for name, parameter in call.parameters.items():
        wide = parameter.detach().expand(call.out_shape).clone().requires_grad_()
        (share,) = torch.autograd.grad(run_again(call, {name: wide}), wide, gradient)
        columns[name] = reduce_to_parameter(call, share, parameter.shape)
    return columns


def prelu(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """weight (c,) or (1,): Σ d·min(x, 0) over a channel's positions."""
    weight = call.parameters["weight"]
    share = gradient * call.input("input", gradient).clamp_max(0)
    shape: tuple[Any, ...] = (1,) * share.dim()
    if weight.numel() > 1:
        shape = (1, weight.numel(), *(1,) * (share.dim() - 2))
    return {"weight": Dense(reduce_to_parameter(call, share, torch.Size(shape)).gradients, weight.shape)}


def mul(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """x·w: the gradient times the other factor."""
    columns: dict[str, Columns] = {}
    for name, parameter in call.parameters.items():
        other = call.values["other" if name == "input" else "input"]
        columns[name] = reduce_to_parameter(call, gradient * other, parameter.shape)
    return columns


register("add sub", Rule("broadcast", add, ("input", "other"), keeps=False))
register("expand expand_as broadcast_to", Rule("broadcast", add, ("input",), keeps=False))
register("mul", Rule("elementwise", mul, ("input", "other")))
register("div pow rsub maximum minimum lerp where addcmul addcdiv fmax fmin atan2 hypot remainder xlogy "
         "clamp clamp_min clamp_max logaddexp", Rule("elementwise", elementwise))  # fmt: skip
register("prelu _prelu_kernel", Rule("prelu", prelu, ("input", "weight")))
