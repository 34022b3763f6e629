"""The rule of last resort: the call again, sample by sample, or whole with all samples but one masked.

Exact, slow, named in the report.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fisherscope.gram.columns import Columns, Dense
from fisherscope.gram.errors import NotSplittableError
from fisherscope.gram.grouping import Layout
from fisherscope.gram.interception import call_name
from fisherscope.gram.rules import Call, Rule, register
from fisherscope.gram.sources import tensors_in

_TOLERANCE = 1e3  # roundings by which a sample alone may miss what it gave in the batch


def replayed(call: Call, changed: dict[str, Tensor]) -> Tensor:
    """The call's output again, with some arguments changed and the same random numbers."""
    values = _placed(call.values, {**call.parameters, **changed})
    names = list(values)
    args = [values[name] for name in names[: call.positional]]
    kwargs = {name: values[name] for name in names[call.positional :]}
    with torch.enable_grad(), torch.random.fork_rng(devices=[], enabled=call.random_state is not None):
        if call.random_state is not None:
            torch.set_rng_state(call.random_state)
        out: Tensor = call.function(*args, **kwargs)
    return out


def _placed(values: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Arguments with tensors put in by name; `name.index` is an element of a list argument."""
    placed = dict(values)
    for name, tensor in tensors.items():
        head, _, index = name.partition(".")
        if not index:
            placed[name] = tensor
            continue
        items = list(placed[head])
        items[int(index)] = tensor
        placed[head] = items
    return placed


def replay(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """Each sample's part of the inputs through the function alone; where that gives something else, masked.

    Raises:
        NotSplittableError: The function, run again, gives something else than it gave.
    """
    shares = None if call.grouping.rows is not None else _apart(call, gradient)
    if shares is None:
        shares = _masked(call, gradient)
    return {
        name: Dense(torch.stack(rows).flatten(1), call.parameters[name].shape)
        for name, rows in shares.items()
    }


def _apart(call: Call, gradient: Tensor) -> dict[str, list[Tensor]] | None:
    """Parameters' gradients sample by sample; None if one alone gives another output than in the batch."""
    shares: dict[str, list[Tensor]] = {name: [] for name in call.parameters}
    for sample in range(call.samples):
        leaves = _leaves(call)
        part = {
            name: _part(value, call.layouts[name], sample, call.samples)
            for name, value in tensors_in(call.values)
            if name in call.layouts and name not in leaves
        }
        try:
            out = replayed(_out_of_place(call, part), {**part, **leaves})
        except RuntimeError:  # a shape among its arguments, say, is that of the batch
            return None
        wanted = _part(gradient, call.grouping.layout, sample, call.samples)
        if not isinstance(out, Tensor) or out.shape != wanted.shape or not _same(call, out, sample):
            return None
        _add(shares, out, leaves, wanted)
    return shares


def _masked(call: Call, gradient: Tensor) -> dict[str, list[Tensor]]:
    """The whole call once more, differentiated once a sample with the gradient of its rows alone."""
    leaves = _leaves(call)
    inputs = {name: value.clone() for name, value in tensors_in(call.values) if name not in leaves}
    out = replayed(call, {**inputs, **leaves})
    recorded = None if call.outputs is None else call.outputs[0]
    if not isinstance(out, Tensor) or out.shape != gradient.shape or not _equal(out, recorded):
        raise NotSplittableError("run again it gives another output than it gave")
    shares: dict[str, list[Tensor]] = {name: [] for name in call.parameters}
    for sample in range(call.samples):
        _add(shares, out, leaves, gradient * call.grouping.mask(sample, gradient))
    return shares


def _leaves(call: Call) -> dict[str, Tensor]:
    return {name: value.detach().clone().requires_grad_() for name, value in call.parameters.items()}


def _add(shares: dict[str, list[Tensor]], out: Tensor, leaves: dict[str, Tensor], wanted: Tensor) -> None:
    grads = torch.autograd.grad(out, list(leaves.values()), wanted, retain_graph=True, allow_unused=True)
    for (name, leaf), share in zip(leaves.items(), grads, strict=True):
        shares[name].append(torch.zeros_like(leaf) if share is None else share)


def _same(call: Call, out: Tensor, sample: int) -> bool:
    if call.outputs is None:
        return True
    return _equal(out, _part(call.outputs[0], call.grouping.layout, sample, call.samples))


def _equal(out: Tensor, recorded: Tensor | None) -> bool:
    if recorded is None:
        return True
    eps = torch.finfo(out.dtype).eps
    return float((out.detach() - recorded).norm()) <= _TOLERANCE * eps * (float(recorded.norm()) + 1)


def _part(value: Tensor, layout: Layout, sample: int, samples: int) -> Tensor:
    factors = layout.factors(value.shape[layout.dim], samples)
    assert factors is not None
    outer, inner = factors
    split: Tensor = value.unflatten(layout.dim, (outer, samples, inner)).select(layout.dim + 1, sample)
    return split.flatten(layout.dim, layout.dim + 1)


def _out_of_place(call: Call, part: dict[str, Any]) -> Call:
    """In-place calls write into the first argument: give them a copy."""
    _, inplace = call_name(call.function)
    first = next(iter(call.values))
    if inplace and first in part:
        part[first] = part[first].clone()
    return call


register("*", Rule("replay", replay, draws=True, keeps_outputs=True))
