"""Identify what a run computes: its code, first batch, initial weights and first loss.

A configuration names a task and numbers; the task's code and data can change behind the same name. These few
values are stored in run.json when a run begins and compared when it resumes. Whole numbers, shapes and names
are compared by their digest; real numbers by two sums, because the last bits of initial weights and of losses
depend on the machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

import fisherscope as fs
from fisherscope.model_state import restored_after
from fisherscope.training.train_state import TrainState

DIGITS = 16
"""Hexadecimal digits of a digest."""


def computed_identity(state: TrainState) -> dict[str, Any]:
    """Identify what a run computes, from a state that has not trained yet.

    Args:
        state: The state, as `make_state` returns it; it is left as it was, bit for bit.

    Returns:
        JSON values: `file` (digest of the user's file, without comments; None for a built-in task), `batch`
        and `weights` (digest of all that is exact, and two sums of the real numbers), and `loss` (None where
        it cannot be had without training).

    Cost: one forward pass of the first batch, and a copy of the model while it runs.
    """
    config = state.config
    sampler = fs.DynamicBatchSampler(len(state.task.train), config.policy_of(), seed=config.seed)
    indices = next(iter(sampler))[: config.micro_batch]
    weights = _identity(dict(state.model.state_dict()))
    with restored_after(state.model):
        try:
            batch = state.first_batch(indices)
            first = _identity(batch)
            loss = float(state.first_loss(batch))
        except (RuntimeError, fs.tasks.TaskError):  # the first step raises the same error, and says more
            first, loss = None, None
    return {"file": fs.tasks.file_digest(config.task), "batch": first, "weights": weights, "loss": loss}


def _identity(value: Any) -> dict[str, Any]:
    """Return the digest of what is exact in a value, and norm and projection of its real numbers."""
    exact, square, projection, seen = hashlib.sha256(), 0.0, 0.0, 0
    for name, part in _parts(value):
        if not isinstance(part, Tensor):
            exact.update(f"{name}={part!r};".encode(errors="replace"))
            continue
        exact.update(f"{name}:{tuple(part.shape)}:{part.dtype};".encode())
        if not (part.is_floating_point() or part.is_complex()):
            exact.update(part.detach().to("cpu").contiguous().flatten().view(torch.uint8).numpy().tobytes())
            continue
        real = torch.view_as_real(part) if part.is_complex() else part
        flat = real.detach().to("cpu", torch.float64).flatten()
        signs = torch.cos(torch.arange(seen, seen + len(flat), dtype=torch.float64) * 2.399963)
        square += float(flat @ flat)
        projection += float(flat @ signs)
        seen += len(flat)
    return {"digest": exact.hexdigest()[:DIGITS], "sums": [square**0.5, projection]}


def _parts(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the tensors and plain values in a value, by their positions."""
    if isinstance(value, Tensor):
        if value.layout == torch.strided and not value.is_quantized:
            yield name, value
        else:
            yield name, str(value.shape)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _parts(part, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for k, part in enumerate(value):
            yield from _parts(part, f"{name}.{k}")
    elif value is None or isinstance(value, bool | int | float | str | bytes):
        yield name, value
    elif hasattr(value, "__dict__"):  # such as a graph batch
        yield from _parts(vars(value), name)
