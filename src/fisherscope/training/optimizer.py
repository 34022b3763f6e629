"""An optimizer of torch.optim by name, with those of a configuration's settings that it takes."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

import torch
from torch import nn

from fisherscope.training.configuration import Configuration, ConfigurationError

_NEEDS_MORE = ("Optimizer", "LBFGS", "SparseAdam")
"""The contract itself, one that calls the loss again, and one for sparse gradients only."""


def optimizer(config: Configuration, model: nn.Module) -> torch.optim.Optimizer:
    """Named as in torch.optim, in any case of letters; fused where it can be, which is one pass over memory.

    Raises:
        ConfigurationError: There is none of that name, or it does not take this model's parameters.
    """
    known = {
        name.lower(): kind
        for name, kind in vars(torch.optim).items()
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and name not in _NEEDS_MORE
    }
    kind = known.get(config.optimizer.lower())
    if kind is None:
        names = sorted(k.__name__ for k in known.values())
        near = difflib.get_close_matches(config.optimizer.lower(), known, 1)
        hint = f"did you mean {known[near[0]].__name__!r}? " if near else ""
        raise ConfigurationError(
            f"optimizer {config.optimizer!r}: {hint}there are, of torch.optim, {', '.join(names)}"
        )
    takes = inspect.signature(kind).parameters
    settings: dict[str, Any] = {
        "lr": config.lr,
        "momentum": config.momentum,
        "weight_decay": config.weight_decay,
    }
    if kind is torch.optim.SGD:
        settings["nesterov"] = config.nesterov and config.momentum > 0
    return _made(kind, model, {name: value for name, value in settings.items() if name in takes})


def _made(kind: Any, model: nn.Module, settings: dict[str, Any]) -> torch.optim.Optimizer:
    parameters = list(model.parameters())
    sparse = any(getattr(module, "sparse", False) for module in model.modules())
    if "fused" in inspect.signature(kind).parameters and not sparse:
        try:
            return kind(parameters, fused=True, **settings)  # type: ignore[no-any-return]
        except RuntimeError:  # there is none for this device or dtype
            pass
    try:
        return kind(parameters, **settings)  # type: ignore[no-any-return]
    except ValueError as error:
        raise ConfigurationError(f"optimizer {kind.__name__!r}: {error}; choose another one") from error
