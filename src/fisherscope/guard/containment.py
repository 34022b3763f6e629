"""The border of a method: what fails inside is handed to a recovery, in the state of the thread as it was."""

import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from functools import wraps
from traceback import clear_frames
from typing import Any, Concatenate, ParamSpec, TypeVar

from fisherscope.guard.refusal import Refusal, describe

Owner = TypeVar("Owner")
Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")


def contain_errors(
    recover: Callable[..., Value],
) -> Callable[
    [Callable[Concatenate[Owner, Arguments], Value]], Callable[Concatenate[Owner, Arguments], Value]
]:
    """Decorate a method that a training loop calls, so that no error of ours leaves it.

    A `Refusal` passes, as it is meant for the user; so does what is no `Exception` (Ctrl-C).

    Args:
        recover: Called with the object, the error and the method's arguments, once the thread's state (grad
            mode, autocast, interception) is restored; gives what the method returns.

    Returns:
        The decorator.

    Example:
        ```python
        from fisherscope.guard import contain_errors

        class Counter:
            lost = 0

            def _lose(self, error, by):
                self.lost += 1

            @contain_errors(_lose)
            def add(self, by):
                raise KeyError(by)

        counter = Counter()
        counter.add(2)
        assert counter.lost == 1
        ```
    """

    def decorate(
        method: Callable[Concatenate[Owner, Arguments], Value],
    ) -> Callable[Concatenate[Owner, Arguments], Value]:
        @wraps(method)
        def border(self: Owner, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Value:
            keep_from_compilation()
            state = capture_thread()
            try:
                return method(self, *args, **kwargs)
            except Refusal:
                restore_thread(state)
                raise
            except Exception as error:  # noqa: BLE001  (whatever it is: the step goes on)
                restore_thread(state)
                value = recover(self, error, *args, **kwargs)
                clear_frames(error.__traceback__)
                return value

        border._torchdynamo_disable = True  # type: ignore[attr-defined]  # a compiled step calls it as it is
        return border

    return decorate


def repeat_once(
    method: Callable[Concatenate[Owner, Arguments], Value],
) -> Callable[Concatenate[Owner, Arguments], Value]:
    """Decorate a method that training needs, so that an error is followed by one more call.

    The attributes of the object are put back before. What the second call raises, as errors meant for the
    user and those of a policy of the user's own are, passes; what it does not raise is warned of.

    Args:
        method: Changes nothing but the attributes of its object, and gives the same when it is called again.

    Returns:
        The method.

    Example:
        ```python
        import warnings
        from fisherscope.guard.containment import repeat_once

        calls = []

        class Queue:
            @repeat_once
            def take(self):
                calls.append(1)
                if len(calls) == 1:
                    raise KeyError("memory")
                return 3

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert Queue().take() == 3
        assert "called again" in str(caught[0].message)
        ```
    """

    @wraps(method)
    def call_again_on_error(self: Owner, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Value:
        try:
            with unchanged_on_error(self):
                return method(self, *args, **kwargs)
        except StopIteration:
            raise
        except Exception as error:  # noqa: BLE001  (whatever it is: the second call decides)
            value = method(self, *args, **kwargs)
            warnings.warn(
                f"{type(self).__name__}.{method.__name__} failed and was called again, which succeeded: "
                f"{describe(error)}",
                RuntimeWarning,
                stacklevel=2,
            )
            return value

    return call_again_on_error


def keep_from_compilation() -> None:
    """Keep our functions out of what `torch.compile` traces, where it is in use."""
    if "torch._dynamo" in sys.modules:
        from fisherscope.guard.compilation import leave_to_python

        leave_to_python()


def capture_thread() -> Any:
    """Capture what a measurement switches in this thread; None where torch is not loaded."""
    if "torch" not in sys.modules:
        return None
    from fisherscope.guard.thread_state import ThreadState

    return ThreadState()


def restore_thread(state: Any) -> None:
    """Put back what `capture_thread` captured."""
    if state is not None:
        state.restore()


@contextmanager
def unchanged_on_error(*parts: object) -> Iterator[None]:
    """Put back the attributes of some objects if the block raises: it adds all or nothing.

    Args:
        parts: Objects with attributes; lists, dicts and deques among these are restored, not what is in them.

    Example:
        ```python
        from types import SimpleNamespace

        from fisherscope.guard import unchanged_on_error

        totals = SimpleNamespace(steps=3)
        try:
            with unchanged_on_error(totals):
                totals.steps += 1
                raise KeyError("loss")
        except KeyError:
            assert totals.steps == 3
        ```
    """
    before = [
        {
            name: copy(value) if isinstance(value, list | dict | deque) else value
            for name, value in vars(part).items()
        }
        for part in parts
    ]
    try:
        yield
    except BaseException:
        for part, attributes in zip(parts, before, strict=True):
            vars(part).update(attributes)
        raise
