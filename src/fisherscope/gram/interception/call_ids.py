"""The same name for a call in every forward: its function, the parameters that it uses, its turn."""

from __future__ import annotations

from collections.abc import Mapping

from fisherscope.gram.interception.provenance import ParameterSource

Key = tuple[str, tuple[str, ...], int]
"""(function, parameters, how many such calls came before in this forward)."""


class CallIds:
    """Number calls by function, parameters and turn: the same in every forward."""

    def __init__(self) -> None:
        self._turns: dict[tuple[str, tuple[str, ...]], int] = {}

    def next(self, name: str, sources: Mapping[str, ParameterSource]) -> Key:
        """Return the key of the next call of `name` with these sources."""
        who = (name, tuple(sorted({leaf for source in sources.values() for leaf in source.leaves})))
        turn = self._turns.get(who, 0)
        self._turns[who] = turn + 1
        return (*who, turn)
