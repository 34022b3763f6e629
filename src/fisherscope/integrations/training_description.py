"""What a framework's training is, for the configuration of its run."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

PREFIXES = {
    "eval": "val",
    "valid": "val",
    "validation": "val",
    "val": "val",
    "test": "test",
    "train": "train",
}
"""How frameworks and users begin the names of metrics, and how a run begins them."""
SPEEDS = ("runtime", "per_second", "preparation_time", "epoch")
"""Ends of names of what Trainer reports beside metrics."""


def metric_name(name: str) -> str:
    """Name a metric as `run.log_epoch` takes it: `eval_loss` and `valid_loss` become `val_loss`.

    Args:
        name: The name as it was logged.

    Returns:
        The name with the split as a run names it; unchanged if it begins with no known split.
    """
    for separator in ("/", "_"):
        split, found, rest = name.partition(separator)
        if found and split in PREFIXES:
            return f"{PREFIXES[split]}{separator}{rest}"
    return name


def metrics_row(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Select the metrics of an epoch.

    Args:
        metrics: Values as they were logged: numbers, or tensors of one number.

    Returns:
        Numbers by the names of a run's columns, without speeds.
    """
    numbers = {
        name: value.item() if isinstance(value, torch.Tensor) else value for name, value in metrics.items()
    }
    return {
        metric_name(name): float(value)
        for name, value in numbers.items()
        if isinstance(value, int | float) and not name.endswith(SPEEDS)
    }


def compared_metric(name: str | None, larger_is_better: bool | None) -> dict[str, Any]:
    """Describe the metric by which the training itself chooses its best model.

    Args:
        name: Its name as it was logged; None for none.
        larger_is_better: Its direction; None where that is not known.

    Returns:
        `metric` and `direction` of a run's configuration.
    """
    if not name:
        return {}
    direction = None if larger_is_better is None else "max" if larger_is_better else "min"
    return {"metric": metric_name(name).removeprefix("val/").removeprefix("val_"), "direction": direction}


def ending_of(model: nn.Module) -> tuple[Any, str]:
    """Say how a training ended that came to its end.

    Args:
        model: The trained model.

    Returns:
        Status and reason of the run: finished, or diverged if a parameter is not finite.

    Cost: one reduction a parameter, and a synchronisation.
    """
    broken = [name for name, p in model.named_parameters() if not bool(torch.isfinite(p.detach()).all())]
    if broken:
        return "diverged", f"the parameter {broken[0]} is not finite at the end"
    return "finished", ""


def whole_epochs(epochs: float | None, steps: int | None, steps_per_epoch: float | None) -> int | None:
    """Return the length of a training in epochs, a part of one counted as one.

    Args:
        epochs: Planned epochs; None or negative for no limit.
        steps: Planned optimizer steps; None or not positive for no limit.
        steps_per_epoch: Steps of an epoch; None or infinite if that is not known.

    Returns:
        The smaller of both lengths; None if neither is known.
    """
    lengths = [epochs] if epochs is not None and epochs > 0 else []
    if steps is not None and steps > 0 and steps_per_epoch and math.isfinite(steps_per_epoch):
        lengths.append(steps / steps_per_epoch)
    return math.ceil(min(lengths)) if lengths else None
