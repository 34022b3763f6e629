"""The global random generators that a model or a data set may draw from, as one value."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def seed(number: int) -> None:
    """Begin all of them."""
    torch.manual_seed(number)
    random.seed(number)
    np.random.seed(number & 0xFFFFFFFF)  # noqa: NPY002  (the global one is meant)


def state(device: torch.device) -> dict[str, Any]:
    """Where they stand: tensors and plain values."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002  (the global one is meant)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "python": random.getstate(),
        "numpy": [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
    }


def restore(held: dict[str, Any], device: torch.device) -> None:
    """Put them back to where `state` found them."""
    torch.set_rng_state(held["torch"])
    if held["cuda"] is not None:
        torch.cuda.set_rng_state(held["cuda"], device)
    random.setstate(held["python"])
    name, keys, *rest = held["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002  (the global one is meant)
