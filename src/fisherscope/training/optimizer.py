"""Make an optimizer of torch.optim by name, with the settings it accepts."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

import torch
from torch import nn

from fisherscope.training.configuration import Configuration, ConfigurationError

_NEEDS_MORE = ("Optimizer", "LBFGS", "SparseAdam")
"""The base class, one that calls the loss again, and one for sparse gradients only."""


def make_optimizer(config: Configuration, model: nn.Module) -> torch.optim.Optimizer:
    """Make the optimizer of a configuration, named in any case; fused if it can be.

    Returns:
        The optimizer of all parameters of the model.

    Raises:
        ConfigurationError: The name is unknown, or the optimizer rejects the model's parameters.
    """
    classes = {
        name.lower(): kind
        for name, kind in vars(torch.optim).items()
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and name not in _NEEDS_MORE
    }
    kind = classes.get(config.optimizer.lower())
    if kind is None:
        names = sorted(k.__name__ for k in classes.values())
        near = difflib.get_close_matches(config.optimizer.lower(), classes, 1)
        hint = f"did you mean {classes[near[0]].__name__!r}? " if near else ""
        raise ConfigurationError(
            f"optimizer {config.optimizer!r}: {hint}expected one of torch.optim: {', '.join(names)}"
        )
    accepted = inspect.signature(kind).parameters
    settings: dict[str, Any] = {
        "lr": config.lr,
        "momentum": config.momentum,
        "weight_decay": config.weight_decay,
    }
    if kind is torch.optim.SGD:
        settings["nesterov"] = config.nesterov and config.momentum > 0
    parameters = _parameter_groups(model) if config.decay_matrices_only else list(model.parameters())
    known = {name: value for name, value in settings.items() if name in accepted}
    return _instantiate(kind, model, parameters, known)


def _parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Return two groups: parameters of at least two dimensions, and the others without weight decay."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _instantiate(
    kind: Any, model: nn.Module, parameters: list[Any], settings: dict[str, Any]
) -> torch.optim.Optimizer:
    """Call an optimizer class, fused (one pass over memory) if the parameters allow it."""
    sparse = any(getattr(module, "sparse", False) for module in model.modules())
    if "fused" in inspect.signature(kind).parameters and not sparse:
        try:
            return kind(parameters, fused=True, **settings)  # type: ignore[no-any-return]
        except RuntimeError:  # not for this device or dtype
            pass
    try:
        return kind(parameters, **settings)  # type: ignore[no-any-return]
    except ValueError as error:
        raise ConfigurationError(f"optimizer {kind.__name__!r}: {error}; choose another optimizer") from error
