"""The whole batch in another, random order: do the rows of each call move with the samples?"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fisherscope.gram.batch_axis.forward_call import ForwardCall
from fisherscope.gram.batch_axis.probe import Plan
from fisherscope.gram.batch_axis.probe_run import run_probe
from fisherscope.gram.interception.call_ids import Key
from fisherscope.gram.rules import signature_of

_MATCH = 1e-3
"""How far the rows may miss, relative to how far the order moves them."""


def moves_with_samples(
    call: ForwardCall, plan: Plan, parameters: Mapping[str, Tensor]
) -> dict[Key, bool | None]:
    """Check for each planned call whether its rows move with the samples of a permuted batch.

    Values alone are compared: it needs no gradient, and mixing samples by value (batch statistics) does
    not disturb it.

    Returns:
        Whether it does, by call.

    Cost: two forwards of the batch, and a copy of the calls' outputs.
    """
    generator = torch.Generator().manual_seed(call.samples)
    order = torch.randperm(call.samples, generator=generator)
    entering: set[Key] = {key for key, layout in plan.items() if "out" in layout.layouts}
    try:
        plain = run_probe(call, list(range(call.samples)), parameters, signature_of, entering, True).sights
        moved = run_probe(call, order.tolist(), parameters, signature_of, entering, True).sights
    except Exception:  # noqa: BLE001  (whatever the user's model raises when it is called once more)
        return {}
    checked: dict[Key, bool | None] = {}
    for key, layout in plan.items():
        place = layout.layouts.get("out")
        if place is None or key not in plain or key not in moved:
            continue
        exact = plain[key].values["out"].dtype == torch.float64
        one, other = plain[key].values["out"].double(), moved[key].values["out"].double()
        factors = place.factors(one.shape[place.dim], call.samples) if one.shape == other.shape else None
        if factors is None:
            checked[key] = False
            continue
        if not bool(torch.isfinite(one).all() & torch.isfinite(other).all()):
            checked[key] = None
            continue
        split = one.unflatten(place.dim, (factors[0], call.samples, factors[1]))
        expected = split.index_select(place.dim + 1, order.to(one.device)).reshape(one.shape)
        rounding = (1e-10 if exact else 1e-4) * float(one.norm())
        checked[key] = float((other - expected).norm()) <= _MATCH * float((expected - one).norm()) + rounding
    return checked
