"""A user's model, optimizer and random state, put back bit for bit after something was tried on them."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer


@contextmanager
def kept(model: nn.Module, optimizer: Optimizer | None = None) -> Iterator[None]:
    """Put back parameters, buffers, gradients, modes, optimizer and random states when the block ends.

    Attributes of modules that are neither parameters nor buffers (a counter in a Python integer) are left
    as the block leaves them.
    """
    modules = list(model.modules())
    slots = [(m, name, value) for m in modules for name, value in m._buffers.items() if value is not None]
    tensors = {id(t): t for t in [*model.parameters(), *(value for *_, value in slots)]}
    if optimizer is not None:
        tensors |= {id(p): p for group in optimizer.param_groups for p in group["params"]}
    values = {key: tensor.detach().clone() for key, tensor in tensors.items()}
    gradients = {key: tensor.grad for key, tensor in tensors.items()}
    gradient_values = {key: None if g is None else g.detach().clone() for key, g in gradients.items()}
    modes = [(module, module.training) for module in modules]
    wanted = [(p, p.requires_grad) for p in model.parameters()]
    state = None if optimizer is None else _optimizer_state(optimizer)
    drawn = _random_state()
    try:
        yield
    finally:
        for module, name, buffer in slots:
            module._buffers[name] = buffer
        with torch.no_grad():
            for key, tensor in tensors.items():
                tensor.copy_(values[key])
                _put_gradient(tensor, gradients[key], gradient_values[key])
        for module, mode in modes:
            module.training = mode
        for parameter, requires in wanted:
            parameter.requires_grad_(requires)
        if optimizer is not None and state is not None:
            _put_optimizer(optimizer, state)
        _put_random(drawn)


def _put_gradient(tensor: Tensor, gradient: Tensor | None, value: Tensor | None) -> None:
    if gradient is not None and value is not None:
        gradient.copy_(value)
    if tensor.is_leaf:
        tensor.grad = gradient


def _optimizer_state(optimizer: Optimizer) -> tuple[dict[Any, Any], list[dict[str, Any]]]:
    state = {parameter: copy.deepcopy(inner) for parameter, inner in optimizer.state.items()}
    groups = [{k: copy.deepcopy(v) for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    return state, groups


def _put_optimizer(optimizer: Optimizer, state: tuple[dict[Any, Any], list[dict[str, Any]]]) -> None:
    optimizer.state.clear()
    optimizer.state.update(state[0])
    for group, saved in zip(optimizer.param_groups, state[1], strict=True):
        group.update(saved)


def _random_state() -> tuple[Any, ...]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    return torch.get_rng_state(), cuda, random.getstate(), np.random.get_state()  # noqa: NPY002  (users' own)


def _put_random(state: tuple[Any, ...]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state_all(state[1])
    random.setstate(state[2])
    np.random.set_state(state[3])  # noqa: NPY002
