"""Which calls used each parameter, and why a parameter was left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from fisherscope.gram.accumulation.remedies import StepKinds, remedies
from fisherscope.gram.errors import GramError, NotSplittableError
from fisherscope.gram.interception.provenance import ParameterSource, rounding_of
from fisherscope.gram.rules import Rule


@dataclass
class Usage:
    """What was seen of one parameter's calls."""

    eps: float  # the coarsest rounding on the way of its gradient
    calls: int = 0
    rules: set[str] = field(default_factory=set)
    hidden: bool = False  # used where gradients were off


def usage_of(parameters: Mapping[str, Tensor]) -> dict[str, Usage]:
    """Return empty counts by parameter."""
    return {name: Usage(rounding_of(parameter.dtype)) for name, parameter in parameters.items()}


def note_use(usage: Mapping[str, Usage], rule: Rule, sources: Iterable[ParameterSource], out: Tensor) -> None:
    """Count one call by `rule` that received `sources` and returned `out`."""
    for source in sources:
        for leaf in source.leaves:
            use = usage[leaf]
            use.calls += 1
            use.eps = max(use.eps, source.eps, rounding_of(out.dtype))
            use.rules.add(rule.name if source.geometry is not None else f"{rule.name} (derived)")


class SkippedParameters:
    """Why parameters are left out.

    Args:
        parameters: Those measured, by name.
        strict: Keep the first problem as `failure`, to be raised when the block ends.
    """

    def __init__(self, parameters: Mapping[str, Tensor], strict: bool) -> None:
        self._parameters, self._strict = parameters, strict
        self.by_parameter: dict[str, str] = {}
        self.failure: GramError | None = None
        self.step = StepKinds()

    def refuse(self, name: str, sources: Iterable[ParameterSource], why: str) -> None:
        """Skip the parameters of these sources: the call of `name` can't be split."""
        for leaf in leaves_of(sources):
            self.add(leaf, f"`{name}` cannot be split by sample: {why}", NotSplittableError)

    def add(self, leaf: str, text: str, kind: type[GramError]) -> None:
        """Skip one parameter; the first reason counts."""
        if self._strict and self.failure is None:
            self.failure = kind(
                f"Measuring the Gram matrix: parameter {leaf!r} {tuple(self._parameters[leaf].shape)}: "
                f"{text}. {remedies(text, leaf, self.step)}"
            )
        self.by_parameter.setdefault(leaf, text)

    def add_scripted(self, modules: Mapping[int, str]) -> None:
        """Skip the parameters of scripted modules: parameter's id → the module's path."""
        for name, parameter in self._parameters.items():
            if id(parameter) in modules:
                self.add(
                    name,
                    f"the calls of scripted module {modules[id(parameter)]!r} can't be seen; use the "
                    "module it was made of",
                    NotSplittableError,
                )

    def add_all(self, error: GramError) -> None:
        """Skip every parameter: nothing of a forward can be split."""
        if self._strict and self.failure is None:
            self.failure = error
        self.by_parameter.update((name, str(error)) for name in self._parameters)


def leaves_of(sources: Iterable[ParameterSource]) -> list[str]:
    """List the parameters that sources are made of, each once."""
    return list(dict.fromkeys(leaf for source in sources for leaf in source.leaves))
