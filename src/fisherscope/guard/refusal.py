"""Errors that are meant for the user, and the text by which a row names any other."""

from pathlib import Path
from traceback import walk_tb
from types import TracebackType

_PACKAGE = Path(__file__).resolve().parent.parent
_LONGEST_TEXT = 400


class Refusal(Exception):
    """Mark an error as meant for the user: a guard passes it on.

    It is inherited beside a built-in error, which says what kind it is.
    """


class RefusedState(Refusal, RuntimeError):
    """A call that can't be meant in the present state."""


class RefusedType(Refusal, TypeError):
    """An argument of a kind that can't be meant."""


class RefusedValue(Refusal, ValueError):
    """An argument outside its range, or against the data."""


def describe(error: BaseException) -> str:
    """Describe an error for the status of a row.

    Args:
        error: What a measurement ended with.

    Returns:
        "NotSplittableError: …" for an error meant for the user, "error: KeyError: … (gram/recorder.py:120)"
        for any other, with the innermost line of this package.

    Example:
        ```python
        from fisherscope.guard import describe

        assert describe(KeyError("x")).startswith("error: KeyError")
        ```
    """
    try:
        text = " ".join(str(error).split())[:_LONGEST_TEXT]
    except Exception:  # noqa: BLE001  (an error whose text can't be formed is still to be named)
        text = "its text could not be formed"
    kind = next(base for base in type(error).__mro__ if base.__module__ != __name__)
    named = f"{kind.__name__}: {text}".rstrip(": ")
    if isinstance(error, Refusal):
        return named
    place = _place(error.__traceback__)
    return f"error: {named}" + (f" ({place})" if place else "")


def _place(traceback: TracebackType | None) -> str:
    """Innermost file and line of this package that an error passed, relative to the package."""
    location = ""
    for frame, line in walk_tb(traceback):
        path = Path(frame.f_code.co_filename)
        if _PACKAGE in path.parents and _PACKAGE / "guard" not in path.parents:
            location = f"{path.relative_to(_PACKAGE)}:{line}"
    return location
