"""One use of `record_gram` that never harms the loop around it, unless it is strict."""

import inspect
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from torch import nn

from fisherscope.gram import GramRecord, record_gram
from fisherscope.guard import RefusedType, describe


class Recording:
    """Record one step; an error in doing so becomes `failure`, a text.

    Args:
        model: The module that the step calls.
        strict: Raise errors instead.
        options: Arguments of `record_gram`.
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
        """End the step.

        Args:
            kind: Type of `error`.
            error: The loop's own error that ended the step, which is left to the loop; None for none.
            traceback: Traceback of `error`.
        """
        if self._context is None:
            return
        try:
            self._context.__exit__(kind, error, traceback)
        except Exception as failure:  # noqa: BLE001  (as above)
            self.record = None
            if error is None:  # that of the loop is the one that counts
                self.fail(failure)

    def fail(self, error: Exception) -> None:
        """Keep an error as `failure`, or raise it.

        Raises:
            Exception: `error` itself, if `strict`.
        """
        if self.strict:
            raise error
        self.failure = describe(error)


def check_options(options: dict[str, Any]) -> None:
    """Reject arguments that `record_gram` does not have.

    Args:
        options: Names and values.

    Raises:
        TypeError: Names them, and those there are.
    """
    accepted = set(inspect.signature(record_gram).parameters) - {"model", "strict", "loss_scale"}
    unknown = sorted(set(options) - accepted)
    if unknown:
        raise RefusedType(
            f"building a Monitor: unknown argument {', '.join(unknown)}; in addition to its own it accepts "
            f"those of record_gram: {', '.join(sorted(accepted))}"
        )
