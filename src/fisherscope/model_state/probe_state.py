"""A forward that leaves no trace: random state, buffers and modules' own attributes are put back after it."""

from __future__ import annotations

import random
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_TORCHS_OWN = frozenset(nn.Module().__dict__) - {"_parameters", "_modules"}


@contextmanager
def untouched(module: nn.Module, leaves: list[Any]) -> Iterator[None]:
    """Random state forked; buffers replaced by copies; Python's and NumPy's generators put back.

    What modules hold as plain attributes (counters, a cache of the last input) is put back too.
    """
    devices = {leaf.device for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_cuda}
    devices |= {p.device for p in module.parameters() if p.is_cuda}
    numpy = sys.modules.get("numpy")
    python_state, numpy_state = random.getstate(), numpy.random.get_state() if numpy else None
    originals = [
        (owner, name, buffer)
        for owner in module.modules()
        for name, buffer in owner._buffers.items()
        if buffer is not None
    ]
    attributes = [_Attributes(owner) for owner in module.modules()]
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[d.index or 0 for d in devices]))
        for owner, name, buffer in originals:
            owner._buffers[name] = buffer.clone()
        try:
            yield
        finally:
            for held in attributes:
                held.put_back()
            for owner, name, buffer in originals:
                owner._buffers[name] = buffer
            random.setstate(python_state)
            if numpy and numpy_state is not None:
                numpy.random.set_state(numpy_state)


class _Attributes:
    """A module's own attributes, and what its plain lists, dicts and sets hold, as they are now."""

    def __init__(self, module: nn.Module) -> None:
        self._own = module.__dict__
        self._held = dict(self._own)
        self._inside = [
            (value, value.copy())
            for name, value in self._held.items()
            if type(value) in (list, dict, set, OrderedDict, defaultdict, deque) and name not in _TORCHS_OWN
        ]

    def put_back(self) -> None:
        self._own.clear()
        self._own.update(self._held)
        for value, before in self._inside:
            value.clear()
            value.extend(before) if isinstance(value, list | deque) else value.update(before)


def host_state() -> tuple[Any, ...]:
    """Of Python's and NumPy's generators, to be compared: whether numbers were drawn in between."""
    numpy = sys.modules.get("numpy")
    state = numpy.random.get_state() if numpy else ()
    return (random.getstate(), *(item.tobytes() if hasattr(item, "tobytes") else item for item in state))
