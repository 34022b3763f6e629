"""What a measurement switches in the thread of a training step, put back after an error.

The private names of torch that the guard needs are here; those of the engine are in
`gram/interception/torch_private.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch.overrides import _get_current_function_mode, _pop_mode_temporarily

_grad_enabled = torch.is_grad_enabled
_autocast_enabled: Any = torch.is_autocast_enabled
_function_enabled: Any = torch._C._is_torch_function_enabled
_all_disabled: Any = torch._C._is_torch_function_all_disabled
_native: Any = torch._C  # without these two in its type stubs
_states, _set_function_state = _native._TorchFunctionState, _native._set_torch_function_state
_set_grad_enabled: Any = torch._C._set_grad_enabled
_stack_length: Any = torch._C._len_torch_function_stack
_pop: Any = torch._C._pop_torch_function_stack
_push: Any = torch._C._push_on_torch_function_stack


class ThreadState:
    """Gradient recording, autocast on the CPU and on CUDA, and the state of function interception.

    Captured once for each function call of a measured step: five flags, under a microsecond.
    """

    __slots__ = ("_autocast", "_cpu_autocast", "_gradients", "_is_enabled", "_is_off")

    def __init__(self) -> None:
        self._gradients, self._is_enabled, self._is_off = (
            _grad_enabled(),
            _function_enabled(),
            _all_disabled(),
        )
        self._autocast, self._cpu_autocast = _autocast_enabled("cuda"), _autocast_enabled("cpu")

    def restore(self) -> None:
        """Set everything to what it was."""
        _set_grad_enabled(self._gradients)
        if (_function_enabled(), _all_disabled()) != (self._is_enabled, self._is_off):
            off = _states.ALL_DISABLED if self._is_off else _states.SUBCLASSES_DISABLED
            _set_function_state(_states.ENABLED if self._is_enabled else off)
        for device, before in (("cuda", self._autocast), ("cpu", self._cpu_autocast)):
            if torch.is_autocast_enabled(device) != before:
                torch.set_autocast_enabled(device, before)


def is_torch_function_off() -> bool:
    """Tell whether calls bypass `__torch_function__`: then nothing may be intercepted."""
    return bool(_all_disabled() or not _function_enabled())


def current_function_mode() -> Any:
    """Return the innermost `TorchFunctionMode`, or None: no public name returns it."""
    return _get_current_function_mode()


def pop_function_mode() -> AbstractContextManager[Any]:
    """Take the innermost mode off the stack for a block, as while its handler runs."""
    mode: AbstractContextManager[Any] = _pop_mode_temporarily()
    return mode


@contextmanager
def without_function_mode(mode: Any) -> Iterator[None]:
    """Take a mode off the stack for a block, if it is the innermost: calls of ours don't pass through it."""
    if _get_current_function_mode() is not mode:
        yield
        return
    _pop()
    try:
        yield
    finally:
        _push(mode)


def remove_function_mode(mode: Any) -> None:
    """Take a mode off the stack wherever it is: modes entered later, and not left yet, stay."""
    above = []
    while _stack_length():
        top = _pop()
        if top is mode:
            break
        above.append(top)
    for other in reversed(above):
        _push(other)
