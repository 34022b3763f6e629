"""The contract of a rule, and the table from a function's name to its rule.

Legend of axes, everywhere in `gram`: n, m samples · t, u positions · i inputs · o outputs ·
p parameters; k stands for other rows of a sample that a layout folded into its batch dimension.

A rule is a function (call, gradient of the call's output) → {argument name: columns}. It may rely on:
the call's kept arguments; `call.split`, which brings a tensor shaped like the output to samples-first
order. The columns of one argument must add up, over samples, to that argument's gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fisherscope.gram.columns import Columns
from fisherscope.gram.errors import NotSplittableError
from fisherscope.gram.grouping import Grouping, Layout


@dataclass
class Call:
    """One recorded call: its arguments by name (tensors detached), and where its samples lie."""

    name: str
    function: Callable[..., Any]
    values: dict[str, Any]
    positional: int  # how many of `values` were given by position
    parameters: dict[str, Tensor]  # argument name → the parameter-made tensor given there
    grouping: Grouping  # of the output
    layouts: Mapping[str, Layout]  # of the arguments
    out_shape: torch.Size
    out_dtype: torch.dtype
    random_state: Tensor | None = None
    sorted_samples: Tensor | None = None  # packed input: the sample of each place in the batch
    entry: int = 0  # which forward of the model it belongs to
    chained_outputs: bool = False  # one output is computed from another, each by a node of its own
    outputs: list[Tensor] | None = None  # what the call gave, where its rule compares with it
    noticed: tuple[Tensor, ...] = ()  # what the rule took from the call right after it
    shared: bool = False  # a term of parameters alone added to the loss
    weighted: bool = False  # a learned weight of numbers of all samples together
    terms: Mapping[str, Tensor] | None = None  # each sample's part of those numbers, by argument
    released: bool = False
    evidence: str = "unverified"  # how it is known whose its rows are
    refusal: str = ""  # why that can't be known: its parameters are left out if a gradient comes
    late: Callable[[Any], None] | None = None  # settles whose its rows are when the gradient arrives

    def release(self) -> None:
        """Let go of what is not needed once the columns are formed."""
        self.values, self.outputs, self.noticed, self.released, self.late = {}, None, (), True, None

    @property
    def samples(self) -> int:
        return self.grouping.samples

    def grouping_of(self, output: int) -> Grouping:
        """Return the grouping of one of several outputs.

        Raises:
            NotSplittableError: That output does not carry the samples.
        """
        if output == 0:
            return self.grouping
        layout = self.layouts.get(f"out.{output}")
        if layout is None:
            raise NotSplittableError(f"its output {output} does not carry the samples")
        return Grouping(self.samples, layout)

    def split(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the output's layout as (n, k, *its other dimensions).

        Returns:
            The tensor, samples first.
        """
        return self.grouping.samples_first(tensor)

    def get(self, name: str, default: Any = None) -> Any:
        value = self.values.get(name)
        return default if value is None else value

    def input(self, name: str, like: Tensor) -> Tensor:
        """Return the tensor argument `name` in the dtype that the call computed in."""
        value: Tensor = self.values[name]
        return value.to(like.dtype) if value.is_floating_point() else value


Formula = Callable[[Call, Tensor], dict[str, Columns]]


@dataclass(frozen=True)
class Rule:
    """A family's formula, its argument names, and what it needs of the call."""

    name: str
    formula: Formula
    signature: tuple[str, ...] | None = None
    keeps: bool = True  # whether the formula needs the call's inputs
    draws: bool = False  # whether the call may draw random numbers that a replay must repeat
    keeps_outputs: bool = False  # whether the formula compares with the call's outputs
    notice: Callable[[Call, Tensor], None] | None = None  # called with the call's output right after it


class UnsuitedError(Exception):
    """A rule's formula does not cover this form of the call; the replay is tried instead."""


_RULES: dict[str, Rule] = {}


def register(functions: str, rule: Rule) -> None:
    """Use `rule` for these function names (space-separated)."""
    for function in functions.split():
        _RULES[function] = rule


def rule_of(function: str) -> Rule:
    """Return the rule of a function; the replay where it has none of its own."""
    return _RULES.get(function, _RULES["*"])


def signature_of(function: str) -> tuple[str, ...] | None:
    """Argument names of a function that has a rule."""
    return rule_of(function).signature
