"""The global random generators that a model or a data set may draw from, as one value."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class RandomState:
    """State of the global generators of torch, Python and NumPy.

    Example:
        ```python
        import torch
        from fisherscope.model_state import RandomState

        before = RandomState.capture()
        first = torch.rand(3)
        before.restore()
        assert torch.equal(torch.rand(3), first)
        ```

    Args:
        cpu: torch's CPU generator, dtype uint8, shape (bytes,).
        cuda: One uint8 tensor for each CUDA device; empty where CUDA was not initialised.
        python: As `random.getstate` returns it.
        numpy: As `numpy.random.get_state` returns it.
    """

    cpu: Tensor
    cuda: tuple[Tensor, ...]
    python: tuple[Any, ...]
    numpy: tuple[Any, ...]

    @classmethod
    def capture(cls, cuda: bool = True) -> RandomState:
        """Read the state of every generator.

        Args:
            cuda: Include the CUDA generators, where CUDA is initialised; it is not initialised for this.

        Returns:
            Copies, which later draws do not change.

        Cost: microseconds; CUDA keeps its generators' states on the host, so no device is waited for.
        """
        devices = torch.cuda.get_rng_state_all() if cuda and torch.cuda.is_initialized() else []
        numpy: Any = np.random.get_state()  # noqa: NPY002  (the global one is meant)
        return cls(torch.get_rng_state(), tuple(devices), random.getstate(), numpy)

    def restore(self) -> None:
        """Set every captured generator to this state; others stay as they are."""
        torch.set_rng_state(self.cpu)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)
        random.setstate(self.python)
        np.random.set_state(self.numpy)  # noqa: NPY002  (the global one is meant)


@contextmanager
def preserve_random_state(cuda: bool = True) -> Iterator[None]:
    """Restore the global generators when the block ends, also by an error.

    Args:
        cuda: As in `RandomState.capture`.

    Example:
        ```python
        import torch

        from fisherscope.model_state import preserve_random_state

        with preserve_random_state():
            first = torch.rand(2)
        assert torch.equal(torch.rand(2), first)
        ```
    """
    before = RandomState.capture(cuda)
    try:
        yield
    finally:
        before.restore()


def host_random_state() -> tuple[Any, ...]:
    """Read the generators of Python and NumPy as a value that can be compared with `==`.

    Returns:
        Hashable values; two of them are equal where nothing was drawn in between.

    Example:
        ```python
        import random

        from fisherscope.model_state import host_random_state

        before = host_random_state()
        assert host_random_state() == before
        random.random()
        assert host_random_state() != before
        ```
    """
    state: Any = np.random.get_state()  # noqa: NPY002  (the global one is meant)
    return (random.getstate(), *(item.tobytes() if hasattr(item, "tobytes") else item for item in state))


def seed(number: int) -> None:
    """Seed every global generator, CUDA's also where CUDA is initialised only later.

    Args:
        number: Any integer; NumPy takes its lowest 32 bits.
    """
    torch.manual_seed(number)
    _seed_host(number)


def seed_initialized(number: int) -> None:
    """Seed the generators that `RandomState.capture` reads, and no other.

    Args:
        number: As in `seed`.
    """
    seed_torch(number)
    _seed_host(number)


def seed_torch(number: int) -> None:
    """Seed torch's CPU generator, and those of CUDA where it is initialised.

    `torch.manual_seed` would also leave a seed for a CUDA that is not initialised yet, which nothing could
    take back.

    Args:
        number: Any integer.
    """
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)


def _seed_host(number: int) -> None:
    random.seed(number)
    np.random.seed(number & 0xFFFFFFFF)  # noqa: NPY002  (the global one is meant)


def state(device: torch.device) -> dict[str, Any]:
    """Read the generators in the form that a checkpoint stores.

    Args:
        device: The device that is trained on; its CUDA generator is included.

    Returns:
        Tensors and plain values: `torch`, `cuda` (None on a CPU), `python` and `numpy`.
    """
    host = RandomState.capture(cuda=False)
    name, keys, *rest = host.numpy
    return {
        "torch": host.cpu,
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "python": host.python,
        "numpy": [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
    }


def restore(checkpoint: dict[str, Any], device: torch.device) -> None:
    """Set the generators to what `state` returned.

    Args:
        checkpoint: The value of `state`.
        device: The device that is trained on.
    """
    name, keys, *rest = checkpoint["numpy"]
    RandomState(
        checkpoint["torch"], (), checkpoint["python"], (name, keys.numpy().astype(np.uint32), *rest)
    ).restore()
    if checkpoint["cuda"] is not None:
        torch.cuda.set_rng_state(checkpoint["cuda"], device)
