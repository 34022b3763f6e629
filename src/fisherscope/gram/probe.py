"""Finding, once per kind of input, where the samples lie in every tensor that meets a parameter.

The model's forward is run on two and on three of the batch's own samples: a dimension that grows with
their number carries the batch. A third run with the three samples in another order confirms it: along
that dimension values must move with the samples. Random state is forked, buffers are swapped for
copies, dropout is off and random draws are constant, so the probe leaves no trace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from fisherscope.gram.entry import Entry
from fisherscope.gram.finding import ORDER, Finding, finding_of
from fisherscope.gram.keys import Key
from fisherscope.gram.watching import Sight, Watched, watched

Plan = dict[Key, Finding]


def probe(
    entry: Entry, parameters: Mapping[str, Tensor], signatures: Callable[[str], Any]
) -> tuple[Plan, bool]:
    """How every call of the entry's forward that receives a parameter treats the samples.

    Args:
        entry: the call and its inputs.
        parameters: the trainable parameters by name.
        signatures: argument names of a function, or None.

    Returns:
        A finding for each call, and whether the forward's output grows with the samples. Cost: about eight
        samples' forward passes.

    Raises:
        Whatever the model raises on part of a batch.
    """
    some = list(range(entry.samples))[:3]
    two, three = (some * 3)[:2], (some * 3)[:3]
    entering: set[Key] = set()

    def run(chosen: list[int], keep: bool = True) -> Watched:
        return watched(entry, chosen, parameters, signatures, entering, keep)

    while True:
        small, large = run(two, keep=False), run(three)
        more = _growing(small.sights, large.sights) - entering
        if not more:
            break
        entering |= more
    turned = run([three[place] for place in ORDER])
    plan = {
        key: finding_of(small.sights.get(key), sight, turned.sights.get(key), len(some), large.drew, key[0])
        for key, sight in large.sights.items()
    }
    return plan, small.shapes != large.shapes


def _growing(small: dict[Key, Sight], large: dict[Key, Sight]) -> set[Key]:
    """Calls of parameters alone whose output grows all the same: a size taken from the batch enters there."""
    return {
        key
        for key in small.keys() & large.keys()
        if not large[key].depends and small[key].shapes["out"] != large[key].shapes["out"]
    }
