"""One guard for each measured step: every hook of ours goes through it, and it removes them all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from traceback import clear_frames
from typing import Any

from torch import nn

from fisherscope.guard.thread_state import ThreadState, remove_function_mode


class Guard:
    """Keep what fails in measuring out of a user's step.

    The first failure ends the measurement: `error` holds it, every hook registered here does nothing from
    then on, and the thread's state is put back. The hooks are removed when the step ends, by `close`.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.is_live = True
        self.paused = False  # a pass of our own runs
        self._thread = threading.get_ident()
        self._undo: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    # What is registered ----------------------------------------------------------------------------

    def add_undo(self, action: Callable[..., object], *args: Any) -> None:
        """Register what `close` does, `action(*args)`; the last registered is done first."""
        self._undo.append((action, args))

    def add_handle(self, handle: Any) -> None:
        """Register a hook's handle, to be removed by `close`."""
        self._undo.append((handle.remove, ()))

    def add_mode(self, mode: Any) -> None:
        """Enter a `TorchFunctionMode` until `close`, which finds it below modes of others too."""
        mode.__enter__()
        self._undo.append((remove_function_mode, (mode,)))

    def add_context(self, context: Any) -> None:
        """Enter a context until `close`."""
        context.__enter__()
        self._undo.append((context.__exit__, (None, None, None)))

    def before_forward(self, module: nn.Module, action: Callable[[nn.Module, Any, Any], None]) -> None:
        """Call `action(module, args, kwargs)` before the module's forward, in this thread alone."""
        self.add_handle(module.register_forward_pre_hook(_ModuleHook(self, action), with_kwargs=True))

    def after_forward(self, module: nn.Module, action: Callable[[nn.Module, Any, Any], None]) -> None:
        """Call `action(module, args, output)` after the module's forward, in this thread alone."""
        self.add_handle(module.register_forward_hook(_ModuleHook(self, action), always_call=True))

    def hook(self, action: Callable[..., object]) -> Callable[..., None]:
        """Return a hook for gradients that calls `action` and never raises or replaces anything."""

        def call_guarded(*args: Any) -> None:
            self.run(action, *args)

        return call_guarded

    def silent_hook(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a hook of the user's so that it is not called in passes of our own."""
        return lambda *args: None if self.paused else hook(*args)

    # What is run -------------------------------------------------------------------------------------

    def run(self, action: Callable[..., Any], *args: Any) -> Any:
        """Call `action(*args)` unless something failed before; a failure ends the measurement.

        Returns:
            What it returned; None where it was not called or failed.
        """
        if not self.is_live:
            return None
        state = ThreadState()
        try:
            return action(*args)
        except Exception as error:  # noqa: BLE001  (whatever it is: the step goes on)
            self.fail(error, state)
            return None

    def fail(self, error: Exception, state: ThreadState | None = None) -> None:
        """End the measurement by an error, and put back the thread's state.

        Args:
            error: The first one is kept, without the variables of the calls that it passed.
            state: As it was before the call that failed.
        """
        self.is_live = False
        if state is not None:
            state.restore()
        if self.error is None:
            self.error = error
        clear_frames(error.__traceback__)

    def close(self) -> None:
        """Remove every hook and mode; nothing stays behind, also if one can't be removed."""
        self.is_live = False
        interrupt: BaseException | None = None
        while self._undo:
            action, args = self._undo.pop()
            try:
                action(*args)
            except Exception as error:  # noqa: BLE001  (the others are undone all the same)
                self.fail(error)
            except BaseException as error:  # noqa: BLE001  (Ctrl-C: raised once all is undone)
                interrupt = error
        if interrupt is not None:
            raise interrupt


class _ModuleHook:
    """A hook of a module's forward that acts in the thread of its guard alone.

    torch looks up twice whether a hook wants keyword arguments; removed in between by another thread, it is
    called without. A copy of the model, by pickling or `copy.deepcopy`, gets a hook that does nothing.
    """

    __slots__ = ("_action", "_guard")

    def __init__(self, guard: Guard, action: Callable[[nn.Module, Any, Any], None]) -> None:
        self._guard, self._action = guard, action

    def __call__(self, module: nn.Module, args: Any, more: Any = None) -> None:
        guard = self._guard
        if more is None and guard is not None and not guard.is_live:
            return
        if guard.is_live and threading.get_ident() == guard._thread:
            guard.run(self._action, module, args, {} if more is None else more)

    def __reduce__(self) -> Any:
        return getattr, (nullcontext(), "__exit__")
