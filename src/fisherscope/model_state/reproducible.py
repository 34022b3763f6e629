"""Run a model again with the same random numbers and the same buffers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from fisherscope.model_state.rng import preserve_random_state, seed_initialized
from fisherscope.model_state.snapshot import TensorValues


@contextmanager
def same_draws(seed: int = 0) -> Iterator[None]:
    """Seed torch, Python and NumPy for the block, and restore their generators after it.

    Example:
        ```python
        import torch
        from fisherscope.model_state import same_draws

        with same_draws(seed=3):
            first = torch.rand(2)
        with same_draws(seed=3):
            assert torch.equal(torch.rand(2), first)
        ```

    Args:
        seed: Any integer. Every CUDA device gets it too, where CUDA is initialised.
    """
    with preserve_random_state():
        seed_initialized(seed)
        yield


@contextmanager
def same_buffers(model: nn.Module) -> Iterator[None]:
    """Restore the values of a model's buffers when the block ends, also by an error.

    Example:
        ```python
        import torch
        from fisherscope.model_state import same_buffers

        norm = torch.nn.BatchNorm1d(3)
        with same_buffers(norm):
            norm(torch.randn(8, 3))
        assert norm.num_batches_tracked == 0
        ```

    Args:
        model: The model; running statistics and vectors of a power iteration are buffers.

    Cost: a copy of the buffers.
    """
    buffers = TensorValues(model.buffers())
    try:
        yield
    finally:
        buffers.restore()
