"""A forward that leaves no trace in random state, buffers and attributes of modules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from fisherscope.model_state.rng import preserve_random_state
from fisherscope.model_state.snapshot import ModuleState


@contextmanager
def preserve_module_state(module: nn.Module) -> Iterator[None]:
    """Run a forward in the block that leaves no trace on model and random generators.

    In the block the buffers are copies, so that even their version counters stay. Afterwards buffers, plain
    attributes of modules (counters, a cache of the last input, the training mode) and all random generators
    are what they were. Values of parameters are not saved: the block must not change them.

    Example:
        ```python
        import torch
        from fisherscope.model_state import preserve_module_state

        norm = torch.nn.BatchNorm1d(3)
        with preserve_module_state(norm):
            norm(torch.randn(8, 3))
        assert norm.num_batches_tracked == 0
        ```

    Args:
        module: The model that is called in the block.

    Cost: a copy of the buffers.
    """
    state = ModuleState(module)
    with preserve_random_state():
        try:
            state.copy_buffers()
            yield
        finally:
            state.restore()
