"""Running a model again as if for the first time: the same random numbers, the same buffers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def same_draws(seed: int = 0) -> Iterator[None]:
    """torch, NumPy (masks made on the host) and Python draw from `seed`; afterwards they go on as before."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  (the global one is meant)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002  (as above)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002  (as above)


@contextmanager
def same_buffers(model: nn.Module) -> Iterator[None]:
    """Afterwards the buffers hold what they held: running statistics, vectors of a power iteration."""
    held = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for buffer, before in held:
            buffer.data.copy_(before)
