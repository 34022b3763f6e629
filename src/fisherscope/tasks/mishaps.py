"""What a user's own code raises, told with the line that raised it."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from fisherscope.tasks.errors import TaskError

_NOT_THEIRS = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]), "<frozen importlib")


@contextmanager
def told(doing: str, remedy: str) -> Iterator[None]:
    """Around calls of a user's code: what they raise becomes an error that says which call, and where.

    Raises:
        TaskError: They raised; errors of this package stay as they are.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if type(error).__module__.startswith("fisherscope"):
            raise
        raise TaskError(f"{doing} raised {type(error).__name__}: {error}{_place(error)}; {remedy}") from error


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if not f.filename.startswith(_NOT_THEIRS) and "importlib" not in f.filename]
    theirs = [f for f in theirs if Path(f.filename).name != "contextlib.py"]
    return f" ({theirs[-1].filename}:{theirs[-1].lineno})" if theirs else ""
