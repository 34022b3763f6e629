"""What is seen of each parameter's calls: how many, by which rules, and the coarsest rounding on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fisherscope.gram.rules import Rule
from fisherscope.gram.sources import Source, rounding_of


@dataclass
class Usage:
    """What was seen of one parameter's calls."""

    eps: float  # the coarsest rounding on the way of its gradient
    calls: int = 0
    rules: set[str] = field(default_factory=set)
    hidden: bool = False  # used where gradients were off


def usage_of(parameters: Mapping[str, Tensor]) -> dict[str, Usage]:
    """Nothing seen yet, by parameter."""
    return {name: Usage(torch.finfo(parameter.dtype).eps) for name, parameter in parameters.items()}


def note_use(usage: Mapping[str, Usage], rule: Rule, found: Iterable[Source], out: Tensor) -> None:
    """One call by `rule` that received the sources `found` and gave `out`."""
    for source in found:
        for leaf in source.leaves:
            use = usage[leaf]
            use.calls += 1
            use.eps = max(use.eps, source.eps, rounding_of(out.dtype))
            use.rules.add(rule.name if source.geometry is not None else f"{rule.name} (derived)")
