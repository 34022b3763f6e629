"""One use of `record_gram` that never harms the loop around it, unless it is told to be strict."""

import inspect
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from torch import nn

from fisherscope.gram import GramRecord, record_gram


class Recording:
    """Opens a record around a step and closes it; what goes wrong in doing so becomes `failure`, in words.

    Args:
        model: The module that the step calls.
        strict: Raise it instead.
        options: Of `record_gram`.
    """

    def __init__(self, model: nn.Module, strict: bool, options: dict[str, Any]) -> None:
        self.strict = strict
        self.failure: str | None = None
        self.record: GramRecord | None = None
        self._context: AbstractContextManager[GramRecord] | None = None
        try:
            context = record_gram(model, strict=strict, **options)
            self.record = context.__enter__()
            self._context = context
        except Exception as error:  # noqa: BLE001  (a measurement never kills training)
            self.fail(error)

    def close(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """The step has ended, by `error` where it is not None; that is the loop's and is left to it."""
        if self._context is None:
            return
        try:
            self._context.__exit__(kind, error, traceback)
        except Exception as failure:
            if error is not None:
                raise
            self.record = None
            self.fail(failure)

    def fail(self, error: Exception) -> None:
        """Note what went wrong, or raise it."""
        if self.strict:
            raise error
        self.failure = f"{type(error).__name__}: {error}"


def check_options(options: dict[str, Any]) -> None:
    """Refuse what `record_gram` has no argument for.

    Raises:
        TypeError: Names them, and those there are.
    """
    known = set(inspect.signature(record_gram).parameters) - {"model", "strict", "loss_scale"}
    unknown = sorted(set(options) - known)
    if unknown:
        raise TypeError(
            f"building a Monitor: unknown argument {', '.join(unknown)}; beside its own, it takes those of "
            f"record_gram: {', '.join(sorted(known))}"
        )
