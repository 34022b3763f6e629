"""How a call treats the samples: which dimensions carry them, in which order, or why it is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from fisherscope.gram.batch_axis.probe_run import CallTrace
from fisherscope.gram.grouping import Grouping, Layout

ORDERS = ((1, 2, 0), (1, 0, 2))
"""How three samples change places.

Together they generate all orders, so that nothing but the identity commutes with both.
"""
_MATCH = 0.05  # of the spread between samples: by how much a run in that order may miss
_CONSTANT = 1e-6  # of the norm: samples that differ by less can't be determined apart

LOOPED = (
    "the model calls it once for each sample, in a loop over the batch; call it once, on all samples together"
)

Verdict = Literal["confirmed", "differs", "unknown"]


@dataclass
class CallLayout:
    """How a call treats the samples: layouts by argument name, "out" for the output.

    `given` is the output's grouping where the user specifies the sample of each row.
    """

    layouts: dict[str, Layout] = field(default_factory=dict)
    derived: bool = False
    packed: bool = False
    shared: bool = False  # a number of parameters alone, added to the loss
    weighted: bool = False  # a learned weight of numbers of all samples together
    has_loop: bool = False  # one of the calls of a loop over the samples
    problem: str | None = None
    given: Grouping | None = None


def is_penalty(name: str, out: torch.Size) -> bool:
    """Tell whether a call adds a number made of parameters to one made of samples.

    Its value is the same whatever the samples are, so that each has an equal share.

    Returns:
        Whether it does.
    """
    return name in ("add", "sub") and len(out) == 0


def infer_layout(
    small: CallTrace | None,
    large: CallTrace,
    permuted: Sequence[CallTrace | None],
    samples: int,
    drew: bool,
    function: str,
) -> CallLayout:
    """Infer the layouts of one call from its traces.

    Args:
        small: Of two samples.
        large: Of three.
        permuted: Of the three, in each of `ORDERS`.
        samples: How many of them are different ones.
        drew: Whether the host drew random numbers, which stay with their rows.
        function: Its name.

    Returns:
        The layouts of the call.
    """
    if small is None:
        return CallLayout(
            problem="it was called for three samples and not for two: the calls depend on the data"
        )
    traces = [trace for trace in permuted if trace is not None]
    if len(traces) < len(permuted):
        return CallLayout(problem="the order of the samples changes which calls are made")
    finding, rest = _growing_layouts(small, large)
    if finding.problem is not None:
        return finding
    if "out" not in finding.layouts and not finding.packed:
        return _without_samples(finding, large, function)
    _confirm(finding, rest, large, traces, samples, drew)
    return finding


def moves_with_batch(small: Tensor, large: Tensor, turned: Tensor) -> bool:
    """Tell whether a tensor grows and moves with the samples over three probe runs.

    Returns:
        Whether it does.
    """
    if small.dim() != large.dim() or large.shape != turned.shape:
        return True
    grown = [d for d, (a, b) in enumerate(zip(small.shape, large.shape, strict=True)) if a != b]
    if len(grown) != 1 or large.shape[grown[0]] % 3:
        return len(grown) > 0
    (dim,) = grown
    return bool(_outer_factors(dim, large.shape[dim] // 3, _numbers(large), _numbers(turned), ORDERS[0]))


def output_layout(small: Tensor, large: Tensor, permuted: Sequence[Tensor], samples: int) -> Layout | None:
    """Return the layout of one of the model's outputs, or None if it is not plain."""
    if small.dim() != large.dim() or any(large.shape != other.shape for other in permuted):
        return None
    grown = [d for d, (a, b) in enumerate(zip(small.shape, large.shape, strict=True)) if a != b]
    if len(grown) != 1 or small.shape[grown[0]] * 3 != large.shape[grown[0]] * 2:
        return None
    (dim,) = grown
    layout, verdict = _order(Layout(dim), large.shape[dim] // 3, large, permuted, samples)
    return layout if verdict == "confirmed" else None


def _growing_layouts(small: CallTrace, large: CallTrace) -> tuple[CallLayout, dict[str, int]]:
    """Layouts as they show in shapes alone, and how many rows of each tensor are one sample's."""
    finding, rest = CallLayout(), dict[str, int]()
    for name, shape in large.shapes.items():
        before = small.shapes.get(name)
        if before is None or len(before) != len(shape):
            finding.problem = f"its {name} changes form with the number of samples"
            return finding, rest
        grown = [d for d, (a, b) in enumerate(zip(before, shape, strict=True)) if a != b]
        if len(grown) > 1 and name == "out":
            finding.problem = f"its output grows in {len(grown)} dimensions with the number of samples"
        if len(grown) != 1:
            continue
        (dim,) = grown
        if before[dim] * 3 != shape[dim] * 2:
            finding.packed = finding.packed or name == "out"
            continue
        finding.layouts[name], rest[name] = Layout(dim), shape[dim] // 3
    return finding, rest


def _without_samples(finding: CallLayout, large: CallTrace, function: str) -> CallLayout:
    """Of a call whose output is the same size for any number of samples."""
    if large.depends and is_penalty(function, large.shapes["out"]):
        finding.shared = True
    elif large.depends:
        finding.problem = "it mixes the samples: its input carries them and its output does not"
    else:
        finding.derived = True
    return finding


def _confirm(
    finding: CallLayout,
    rest: dict[str, int],
    large: CallTrace,
    permuted: Sequence[CallTrace],
    samples: int,
    drew: bool,
) -> None:
    """Order the rows of each layout by the values; drop layouts whose rows don't move."""
    verdicts: dict[str, Verdict] = {}
    for name, layout in list(finding.layouts.items()):
        different = 1 if drew and rest[name] == 1 else samples
        others = [trace.values.get(name) for trace in permuted]
        finding.layouts[name], verdicts[name] = _order(
            layout, rest[name], large.values.get(name), others, different
        )
        if verdicts[name] == "differs":
            del finding.layouts[name]
    if verdicts.get("out") == "differs":
        finding.problem = "its output does not move with the samples when they change places"
    if verdicts.get("out") == "unknown":
        _order_from_inputs(finding, rest, verdicts)


def _order(
    layout: Layout, rest: int, large: Tensor | None, permuted: Sequence[Tensor | None], samples: int
) -> tuple[Layout, Verdict]:
    """Return the layout with its order, if the values show it."""
    if samples == 1:  # all rows are its own, in whichever order
        return layout, "confirmed"
    if large is None or any(values is None for values in permuted):
        return layout, "confirmed" if rest == 1 else "unknown"
    one = _numbers(large)
    by_order = [
        _outer_factors(layout.dim, rest, one, _numbers(values), order)
        for values, order in zip(permuted, ORDERS, strict=True)
        if values is not None
    ]
    fitting = [outer for outer in by_order[0] if all(outer in more for more in by_order[1:])]
    if len(fitting) != 1:
        return layout, "unknown" if fitting else "differs"
    (outer,) = fitting
    if outer == 1:
        return Layout(layout.dim), "confirmed"
    return Layout(layout.dim, *((None,) if outer == rest else (outer, rest // outer))), "confirmed"


def _outer_factors(dim: int, rest: int, large: Tensor, turned: Tensor, order: Sequence[int]) -> list[int]:
    """List the outer factors by which rows (outer, samples, inner) move with the samples.

    Where several do roughly (attention at its start makes a sample's rows much alike), one that does to the
    last digits is it.

    Returns:
        The factors.
    """
    floor = _CONSTANT * float(large.norm())
    fitting, exact = [], []
    for outer in (d for d in range(1, rest + 1) if rest % d == 0):
        split = large.unflatten(dim, (outer, 3, rest // outer))
        expected = split.index_select(dim + 1, torch.tensor(order, device=large.device))
        expected = expected.reshape(large.shape)
        spread, miss = float((expected - large).norm()), float((turned - expected).norm())
        if miss <= max(_MATCH * spread, floor):
            fitting.append(outer)
        if miss <= floor:
            exact.append(outer)
    return exact if len(exact) == 1 else fitting


def _numbers(values: Tensor) -> Tensor:
    if not (values.is_floating_point() or values.is_complex()):
        values = values.double()
    return torch.nan_to_num(values, 0, 0, 0)


def _order_from_inputs(finding: CallLayout, rest: dict[str, int], verdicts: dict[str, Verdict]) -> None:
    """Where an output is the same for all samples, its order is that of an input as long."""
    for name, verdict in verdicts.items():
        if name != "out" and verdict == "confirmed" and rest[name] == rest["out"]:
            other = finding.layouts[name]
            finding.layouts["out"] = Layout(finding.layouts["out"].dim, other.outer, other.inner)
            return
    finding.problem = "several rows belong to a sample, and their values do not show in which order they lie"
