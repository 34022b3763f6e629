"""What a user's own code raises, told with the line that raised it."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from fisherscope.tasks.errors import TaskError

_NOT_THEIRS = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]), "<frozen importlib")


class told:
    """Around calls of a user's code: what they raise becomes an error that says which call, and where.

    It may be entered again and again, at a training step's cost of well below a microsecond.

    Args:
        doing: What is being done, or a function that says so when something was raised.
        remedy: What to do about it.

    Raises:
        TaskError: They raised; errors of this package stay as they are.
    """

    def __init__(self, doing: str | Callable[[], str], remedy: str) -> None:
        self.doing, self.remedy = doing, remedy

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if not isinstance(error, (Exception, SystemExit)) or type(error).__module__.startswith("fisherscope"):
            return
        doing = self.doing if isinstance(self.doing, str) else self.doing()
        what = f"{type(error).__name__}: {error}{_place(error)}"
        raise TaskError(f"{doing} raised {what}; {self.remedy}") from error


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if not f.filename.startswith(_NOT_THEIRS) and "importlib" not in f.filename]
    return f" ({theirs[-1].filename}:{theirs[-1].lineno})" if theirs else ""
