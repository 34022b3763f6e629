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
    """One recorded call: its arguments by name (tensors detached), and where its samples lie.

    Attributes:
        name: Name of the function, as rules are registered under.
        function: The function.
        values: Arguments by name; tensors detached, as the call received them.
        positional: How many of `values` were given by position.
        parameters: By argument name: the tensor made of parameters, detached, of any shape and dtype.
        grouping: Where the samples lie in the output.
        layouts: Where they lie in the arguments, by name.
        out_shape: Shape of the (first) output.
        out_dtype: Its dtype.
        random_state: State of the generator before the call, uint8 (bytes,), if its rule runs it again.
        sorted_samples: Of a packed input: the sample of each place in the batch, (n,) int64.
        entry: Which forward of the model it belongs to.
        chained_outputs: Whether one output is computed from another, each by a node of its own.
        outputs: The outputs, if the rule compares with them.
        saved_by_rule: Tensors that the rule's `after_call` saved.
        shared: Whether it is a term of parameters alone, added to the loss.
        weighted: Whether it is a learned weight of numbers of all samples together.
        terms: Each sample's part of those numbers, by argument, (n, …); None before they are split.
        released: Whether `release` was called.
        evidence: How it is known whose its rows are: "verified", "derived" or "unverified".
        refusal: Why that can't be known; its parameters are then left out.
        late: Determines whose its rows are when the output's gradient, its argument, arrives.

    Example: a rule receives the call; see docs/how-to/rule.md.
    """

    name: str
    function: Callable[..., Any]
    values: dict[str, Any]
    positional: int
    parameters: dict[str, Tensor]
    grouping: Grouping
    layouts: Mapping[str, Layout]
    out_shape: torch.Size
    out_dtype: torch.dtype
    random_state: Tensor | None = None
    sorted_samples: Tensor | None = None
    entry: int = 0
    chained_outputs: bool = False
    outputs: list[Tensor] | None = None
    saved_by_rule: tuple[Tensor, ...] = ()
    shared: bool = False
    weighted: bool = False
    terms: Mapping[str, Tensor] | None = None
    released: bool = False
    evidence: str = "unverified"
    refusal: str = ""
    late: Callable[[Any], None] | None = None

    def release(self) -> None:
        """Free the arguments once the columns are formed; the recorder calls it, see `Call`."""
        self.values, self.outputs, self.saved_by_rule, self.released, self.late = {}, None, (), True, None

    @property
    def samples(self) -> int:
        """Number of samples n."""
        return self.grouping.samples

    def grouping_of(self, output: int) -> Grouping:
        """Return the grouping of one of several outputs; see `Call`.

        Args:
            output: Number of the output, from 0.

        Returns:
            Where the samples lie in it.

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
        """Bring a tensor of the output's layout to samples first; see docs/how-to/rule.md.

        Args:
            tensor: Of the output's shape, such as its gradient.

        Returns:
            (n, k, *other dimensions), the same dtype; a view where the layout allows it.
        """
        return self.grouping.samples_first(tensor)

    def get(self, name: str, default: Any = None) -> Any:
        """Return an argument that may be absent or None; see `Call`.

        Args:
            name: Name of the argument.
            default: Returned for an argument that is absent or None.

        Returns:
            The argument, or the default.
        """
        value = self.values.get(name)
        return default if value is None else value

    def input(self, name: str, like: Tensor) -> Tensor:
        """Return a tensor argument in the dtype that the call computed in; see `Call`.

        Args:
            name: Name of the argument.
            like: A tensor of that dtype, such as the output's gradient.

        Returns:
            The argument, its shape unchanged; integers keep their dtype.
        """
        value: Tensor = self.values[name]
        return value.to(like.dtype) if value.is_floating_point() else value


Formula = Callable[[Call, Tensor], dict[str, Columns]]


@dataclass(frozen=True)
class Rule:
    """A family's formula and what it needs of the call; see docs/how-to/rule.md.

    Attributes:
        name: Shown in `GramRecord.by_rule`.
        formula: (call, gradient of its output, of the output's shape and dtype) → columns by argument name.
        signature: Names of the function's arguments in order; None for those of torch.
        keeps: Whether the formula needs the call's inputs.
        draws: Whether the call may draw random numbers that a replay must repeat.
        keeps_outputs: Whether the formula compares with the call's outputs.
        after_call: Called with the call and its output right after it.
    """

    name: str
    formula: Formula
    signature: tuple[str, ...] | None = None
    keeps: bool = True
    draws: bool = False
    keeps_outputs: bool = False
    after_call: Callable[[Call, Tensor], None] | None = None


class UnsuitedError(Exception):
    """A rule's formula does not cover this form of the call; the replay is tried instead."""


_RULES: dict[str, Rule] = {}


def register(functions: str, rule: Rule) -> None:
    """Use a rule for these functions from now on; see docs/how-to/rule.md.

    Args:
        functions: Names of torch functions or methods, separated by spaces.
        rule: The rule; it replaces an earlier one of the same name.
    """
    for function in functions.split():
        _RULES[function] = rule


def rule_of(function: str) -> Rule:
    """Return the rule of a function.

    Args:
        function: Its name.

    Returns:
        Its rule; the replay where it has none of its own.

    Example:
        ```python
        from fisherscope.gram.rules import rule_of, signature_of

        assert rule_of("linear").name == "affine"
        assert rule_of("cdist").name == "replay"
        assert signature_of("linear") == ("input", "weight", "bias")
        ```
    """
    return _RULES.get(function, _RULES["*"])


def signature_of(function: str) -> tuple[str, ...] | None:
    """Return the argument names of a function that has a rule; see `rule_of`.

    Args:
        function: Its name.

    Returns:
        Names in order; None where the rule does not name them.
    """
    return rule_of(function).signature
