"""Finding, once per kind of input, where the samples lie in every tensor that meets a parameter.

The model's forward is run on two and on three of the batch's own samples: a dimension that grows with
their number carries the batch. Two runs with the three samples in other orders confirm it: along that
dimension values must move with the samples. Random state is forked, buffers are swapped for
copies, dropout is off and random draws are constant, so the probe leaves no trace.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fisherscope.gram.batch_axis.forward_call import ForwardCall
from fisherscope.gram.batch_axis.inference import (
    LOOPED,
    ORDERS,
    CallLayout,
    infer_layout,
    moves_with_batch,
    output_layout,
)
from fisherscope.gram.batch_axis.probe_run import CallTrace, ProbeRun, run_probe
from fisherscope.gram.grouping import Layout
from fisherscope.gram.interception.call_ids import Key

Plan = dict[Key, CallLayout]


@dataclass(frozen=True)
class ProbeResult:
    """What a probe found.

    Args:
        plan: How each call that receives a parameter treats the samples.
        carries: Whether some output of the forward grows and moves with the samples.
        outputs: Where the samples lie in each output tensor, None where that is not plain; empty if their
            number
            depends on the samples.
    """

    plan: Plan
    carries: bool
    outputs: list[Layout | None]

    @property
    def has_loop(self) -> bool:
        """Whether some call is made once for each sample."""
        return any(finding.has_loop for finding in self.plan.values())


def probe(
    entry: ForwardCall, parameters: Mapping[str, Tensor], signatures: Callable[[str], Any]
) -> ProbeResult:
    """How every call of the entry's forward that receives a parameter treats the samples.

    Args:
        entry: the call and its inputs.
        parameters: the trainable parameters by name.
        signatures: argument names of a function, or None.

    Returns:
        What the probe found.

    Cost: about eleven samples' forward passes.

    Raises:
        Whatever the model raises on part of a batch.
    """
    some = list(range(entry.samples))[:3]
    two, three = (some * 3)[:2], (some * 3)[:3]
    entering: set[Key] = set()

    def run(chosen: list[int], keep: bool = True) -> ProbeRun:
        return run_probe(entry, chosen, parameters, signatures, entering, keep)

    while True:
        small, large = run(two, keep=False), run(three)
        more = _growing(small.sights, large.sights) - entering
        if not more:
            break
        entering |= more
    permuted = [run([three[place] for place in order]) for order in ORDERS]
    plan = {
        key: infer_layout(
            small.sights.get(key), sight, [p.sights.get(key) for p in permuted], len(some), large.drew, key[0]
        )
        for key, sight in large.sights.items()
    }
    for key in _once_a_sample(small.sights, large.sights):
        plan[key] = CallLayout(problem=LOOPED, has_loop=True)
    outputs = [permuted_run.outputs for permuted_run in permuted]
    return ProbeResult(
        plan,
        large.drew or _carries(small.outputs, large.outputs, outputs[0]),
        _output_layouts(small.outputs, large.outputs, outputs, len(some)),
    )


def _output_layouts(
    small: list[Tensor], large: list[Tensor], permuted: list[list[Tensor]], samples: int
) -> list[Layout | None]:
    """Find where the samples lie in each output of the forward; None if that is not plain."""
    if any(len(outputs) != len(large) for outputs in (small, *permuted)):
        return []
    return [
        output_layout(small[k], large[k], [outputs[k] for outputs in permuted], samples)
        for k in range(len(large))
    ]


def _growing(small: dict[Key, CallTrace], large: dict[Key, CallTrace]) -> set[Key]:
    """List calls of parameters alone whose output grows: they take a size from the batch."""
    return {
        key
        for key in small.keys() & large.keys()
        if not large[key].depends and small[key].shapes["out"] != large[key].shapes["out"]
    }


def _once_a_sample(small: dict[Key, CallTrace], large: dict[Key, CallTrace]) -> set[Key]:
    """List calls on data that are made once a sample, however large the data."""
    few, many = (Counter(key[:2] for key in sights) for sights in (small, large))
    grown = {key[:2] for key in small.keys() & large.keys() if small[key].shapes != large[key].shapes}
    has_loop = {who for who in many if few[who] * 3 == many[who] * 2 and who not in grown}
    return {key for key, sight in large.items() if key[:2] in has_loop and sight.depends}


def _carries(small: list[Tensor], large: list[Tensor], turned: list[Tensor]) -> bool:
    if not len(small) == len(large) == len(turned):
        return True
    return any(moves_with_batch(*outputs) for outputs in zip(small, large, turned, strict=True))
