"""Interception of function calls by which no error of ours reaches the caller."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch.overrides import TorchFunctionMode

from fisherscope.guard.step_guard import Guard
from fisherscope.guard.thread_state import ThreadState


class UserCall:
    """A function call of the user's step; it happens once, whoever asks for it.

    Attributes:
        func: The function.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        out: What it returned.
        is_done: Whether it has returned.
        error: What it raised: the user's own error.
    """

    __slots__ = ("args", "error", "func", "is_done", "kwargs", "out")

    def __init__(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.func, self.args, self.kwargs = func, args, kwargs
        self.out: Any = None
        self.is_done = False
        self.error: BaseException | None = None

    def __call__(self) -> Any:
        """Make the call as it stands."""
        return self.made_by(self.func, self.args, self.kwargs)

    def made_by(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Make the call by another function, or with other arguments, of the same effect."""
        try:
            self.out = func(*args, **kwargs)
        except BaseException as error:
            self.error = error
            raise
        self.is_done = True
        return self.out

    def outcome(self) -> Any:
        """Return what the call gave, or raise what it raised; make it if that has not been done."""
        if self.error is not None:
            raise self.error
        return self.out if self.is_done else self()


class FunctionMode(TorchFunctionMode):
    """A mode that passes each call to `intercept`; with a guard, an error of ours leaves the call as it is.

    Args:
        guard: Of the step; None where an error is to reach the caller (in forwards of our own).
    """

    def __init__(self, guard: Guard | None = None) -> None:
        super().__init__()
        self.guard = guard

    def intercept(self, call: UserCall) -> Any:
        """Make a call, and do what is to be done before and after it.

        Returns:
            What the user receives.
        """
        return call()

    def concerns(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Tell whether a call of a custom `autograd.Function` with these arguments is to be intercepted."""
        return False

    def is_concerned(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Ask `concerns` within the guard."""
        if self.guard is None:
            return self.concerns(args, kwargs)
        return bool(self.guard.run(self.concerns, args, kwargs))

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        guard = self.guard
        if guard is not None and not guard.is_live:
            return func(*args, **(kwargs or {}))
        call = UserCall(func, args, kwargs or {})
        if guard is None:
            return self.intercept(call)
        state = ThreadState()
        try:
            return self.intercept(call)
        except Exception as error:
            if error is call.error:
                raise
            guard.fail(error, state)
        return call.outcome()
