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
from fisherscope.gram.interception.provenance import tensors_in
from fisherscope.gram.interception.torch_function import call_name, results
from fisherscope.gram.rules.registry import Call, Rule, register

_TOLERANCE = 1e3  # roundings by which a sample alone may miss what it gave in the batch


def run_again(call: Call, changed: dict[str, Tensor]) -> Tensor:
    """Run the call again with some arguments changed and the same random numbers."""
    out: Tensor = _run(call, changed)
    return out


def _run(call: Call, changed: dict[str, Tensor]) -> Any:
    values = _with_tensors(call.values, {**call.parameters, **changed})
    names = list(values)
    args = [values[name] for name in names[: call.positional]]
    kwargs = {name: values[name] for name in names[call.positional :]}
    with torch.enable_grad(), torch.random.fork_rng(devices=[], enabled=call.random_state is not None):
        if call.random_state is not None:
            torch.set_rng_state(call.random_state)
        return call.function(*args, **kwargs)


def gradients_of(call: Call, gradient: Tensor) -> list[Tensor | None]:
    """Return the gradients of the call's parameters, all samples together."""
    leaves = _leaves(call)
    return list(
        torch.autograd.grad(run_again(call, leaves), list(leaves.values()), gradient, allow_unused=True)
    )


def _with_tensors(values: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Arguments with tensors put in by name; `name.index` is an element of a list argument."""
    arguments = dict(values)
    for name, tensor in tensors.items():
        head, _, index = name.partition(".")
        if not index:
            arguments[name] = tensor
            continue
        items = list(arguments[head])
        items[int(index)] = tensor
        arguments[head] = items
    return arguments


def replay(call: Call, gradient: Any) -> dict[str, Columns]:
    """Differentiate each sample's part alone, or masked where alone it differs.

    `gradient` is that of the one output, or a list of all outputs' (None: unused).

    Returns:
        Columns by argument name.

    Raises:
        NotSplittableError: The function, run again, gives something else than it gave.
    """
    gradients = [gradient] if isinstance(gradient, Tensor) else list(gradient)
    try:
        shares = None if call.grouping.rows is not None else _apart(call, gradients)
    except RuntimeError:  # a shape among its arguments, say, is that of the batch
        shares = None
    if shares is None:
        shares = _masked_gradients(call, gradients)
    return {
        name: Dense(torch.stack(rows).flatten(1), call.parameters[name].shape)
        for name, rows in shares.items()
    }


def _apart(call: Call, gradients: list[Tensor | None]) -> dict[str, list[Tensor]] | None:
    """Differentiate sample by sample; None if one alone gives another output."""
    shares: dict[str, list[Tensor]] = {name: [] for name in call.parameters}
    for sample in range(call.samples):
        leaves = _leaves(call)
        part = {
            name: _part(value, call.layouts[name], sample, call.samples)
            for name, value in tensors_in(call.values)
            if name in call.layouts and name not in leaves
        }
        outs = results(call.name, _run(_out_of_place(call, part), {**part, **leaves}), (part.get("input"),))
        wanted = [
            None if g is None else _part(g, call.grouping_of(k).layout, sample, call.samples)
            for k, g in enumerate(gradients)
        ]
        if not _fit(outs, wanted) or not _same(call, outs, wanted, sample):
            return None
        _add(shares, outs, leaves, wanted)
    return shares


def _masked_gradients(call: Call, gradients: list[Tensor | None]) -> dict[str, list[Tensor]]:
    """Differentiate the whole call once a sample, with the gradient of its rows alone."""
    leaves = _leaves(call)
    inputs = {name: value.clone() for name, value in tensors_in(call.values) if name not in leaves}
    outs = results(call.name, _run(call, {**inputs, **leaves}), (inputs.get("input"),))
    original = call.outputs or []
    if not _fit(outs, gradients) or not all(
        _equal(out, before)
        for out, before, g in zip(outs, original, gradients, strict=False)
        if g is not None
    ):
        raise NotSplittableError("run again it gives another output than it gave")
    shares: dict[str, list[Tensor]] = {name: [] for name in call.parameters}
    for sample in range(call.samples):
        masked = [
            None if g is None else g * call.grouping_of(k).mask(sample, g) for k, g in enumerate(gradients)
        ]
        _add(shares, outs, leaves, masked)
    return shares


def _leaves(call: Call) -> dict[str, Tensor]:
    return {name: value.detach().clone().requires_grad_() for name, value in call.parameters.items()}


def _add(
    shares: dict[str, list[Tensor]],
    outs: list[Tensor],
    leaves: dict[str, Tensor],
    wanted: list[Tensor | None],
) -> None:
    used = [(out, g) for out, g in zip(outs, wanted, strict=False) if g is not None and out.requires_grad]
    grads = torch.autograd.grad(
        [out for out, _ in used],
        list(leaves.values()),
        [g for _, g in used],
        retain_graph=True,
        allow_unused=True,
    )
    for (name, leaf), share in zip(leaves.items(), grads, strict=True):
        shares[name].append(torch.zeros_like(leaf) if share is None else share)


def _fit(outs: list[Tensor], gradients: list[Tensor | None]) -> bool:
    return len(outs) >= len(gradients) and all(
        g is None or out.shape == g.shape for out, g in zip(outs, gradients, strict=False)
    )


def _same(call: Call, outs: list[Tensor], wanted: list[Tensor | None], sample: int) -> bool:
    return all(
        _equal(out, _part(before, call.grouping_of(k).layout, sample, call.samples))
        for k, (out, before, g) in enumerate(zip(outs, call.outputs or [], wanted, strict=False))
        if g is not None
    )


def _equal(out: Tensor, original: Tensor) -> bool:
    eps = torch.finfo(out.dtype).eps
    return float((out.detach() - original).norm()) <= _TOLERANCE * eps * (float(original.norm()) + 1)


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
