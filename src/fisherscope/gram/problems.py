"""What can't be measured, and why: parameters left out, or an error once the step is whole (`strict`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from fisherscope.gram.errors import GramError, NotSplittableError
from fisherscope.gram.sources import Source


class Problems:
    """Why parameters are left out.

    Args:
        parameters: Those measured, by name.
        strict: Keep the first problem as `failure`, to be raised when the block ends.
    """

    def __init__(self, parameters: Mapping[str, Tensor], strict: bool) -> None:
        self._parameters, self._strict = parameters, strict
        self.by_parameter: dict[str, str] = {}
        self.failure: GramError | None = None

    def refuse(self, name: str, found: Iterable[Source], why: str) -> None:
        """The function `name` was called with these sources and can't be split."""
        for leaf in leaves_of(found):
            self.add(leaf, f"`{name}` cannot be split by sample: {why}", NotSplittableError)

    def add(self, leaf: str, text: str, kind: type[GramError]) -> None:
        """One parameter is left out; the first reason counts."""
        if self._strict and self.failure is None:
            self.failure = kind(
                f"Measuring the Gram matrix: parameter {leaf!r} {tuple(self._parameters[leaf].shape)}: "
                f"{text}. Remedies: say where the samples lie (batch=…, or sample_of=… for flattened rows); "
                f"leave the parameter out (parameters=lambda name, p: name != {leaf!r}, or strict=False); or "
                "take semantics='per_loss'."
            )
        self.by_parameter.setdefault(leaf, text)

    def add_all(self, text: str) -> None:
        """No parameter can be measured."""
        self.by_parameter.update((name, text) for name in self._parameters)


def leaves_of(found: Iterable[Source]) -> list[str]:
    """The parameters that sources are made of, each once."""
    return list(dict.fromkeys(leaf for source in found for leaf in source.leaves))
