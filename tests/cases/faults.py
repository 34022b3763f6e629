"""Faults put into the package while it runs: each of its functions made to raise when it is called.

A trace function raises as the call begins, so that closures, hooks, generators and properties are reached as
well as methods, and nothing of the package is replaced.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import fisherscope

PACKAGE = Path(fisherscope.__file__).resolve().parent
ROOMS = ("gram", "monitor", "sampler", "integrations")
_COMPREHENSIONS = frozenset(["<module>", "<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>"])


class Fault(RuntimeError):
    """What a function is made to raise; nobody else does."""


class Internal(NamedTuple):
    """A function of the package: its file, name and first line."""

    file: str
    name: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.name}"


_known: dict[CodeType, Internal | None] = {}


def internal_of(code: CodeType) -> Internal | None:
    """The function of the rooms that this code is; None for all others."""
    if code not in _known:
        path = Path(code.co_filename)
        inside = PACKAGE in path.parents and path.relative_to(PACKAGE).parts[0] in ROOMS
        is_class = bool(code.co_names[:2] == ("__name__", "__module__"))
        plain = inside and not is_class and code.co_name not in _COMPREHENSIONS
        _known[code] = (
            Internal(str(path.relative_to(PACKAGE)), code.co_name, code.co_firstlineno) if plain else None
        )
    return _known[code]


@contextmanager
def calls_counted() -> Iterator[Counter[Internal]]:
    """Count the calls of each internal function in the block."""
    counts: Counter[Internal] = Counter()

    def trace(frame: FrameType, event: str, _: Any) -> None:
        internal = internal_of(frame.f_code)
        if event == "call" and internal is not None and frame.f_lasti <= 0:
            counts[internal] += 1

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield counts
    finally:
        sys.settrace(before)


@contextmanager
def raising(internal: Internal, number: int = 1) -> Iterator[Callable[[], bool]]:
    """Make the given call of a function raise a `Fault` in the block.

    Args:
        internal: The function.
        number: Which of its calls, from 1.

    Yields:
        Tells whether it has raised.
    """
    left = [number]

    def trace(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and internal_of(frame.f_code) == internal and left[0] > 0:
            left[0] -= 1
            if not left[0]:
                sys.settrace(None)
                raise Fault(f"in {internal.name}")

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lambda: not left[0]
    finally:
        sys.settrace(before)
