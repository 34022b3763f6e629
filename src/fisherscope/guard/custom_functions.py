"""A user's `autograd.Function` made visible to a function mode, which torch itself does not do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fisherscope.guard.function_mode import FunctionMode
from fisherscope.guard.supplied_gradients import SuppliedGradients
from fisherscope.guard.thread_state import current_function_mode, is_torch_function_off, pop_function_mode

_lock = threading.Lock()
_watchers = 0
_apply: Any = torch.autograd.Function.__dict__["apply"]


@contextmanager
def custom_functions_seen() -> Iterator[None]:
    """Make a user's `autograd.Function` visible to an active mode of ours for a block."""
    global _watchers
    with _lock:
        _watchers += 1
        setattr(torch.autograd.Function, "apply", classmethod(_handed_over))  # noqa: B010  (mypy)
    try:
        yield
    finally:
        with _lock:
            _watchers -= 1
            if not _watchers:
                setattr(torch.autograd.Function, "apply", _apply)  # noqa: B010  (mypy)


def _handed_over(cls: Any, *args: Any, **kwargs: Any) -> Any:
    # A classmethod up to torch 2.13, a descriptor written in C from 2.14 on: both bind by `__get__`.
    apply = _apply.__get__(None, cls)
    if issubclass(cls, SuppliedGradients) or is_torch_function_off():
        return apply(*args, **kwargs)
    active = current_function_mode()
    if not isinstance(active, FunctionMode) or not active.is_concerned(args, kwargs):
        return apply(*args, **kwargs)  # its inner calls are seen (reentrant checkpointing)

    def call(*args: Any, **kwargs: Any) -> Any:
        return apply(*args, **kwargs)

    call.__name__ = f"Function {cls.__name__}"
    with pop_function_mode() as mode:
        return mode.__torch_function__(call, (), args, kwargs)
