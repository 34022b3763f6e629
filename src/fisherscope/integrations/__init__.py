"""Callbacks and trackers for other frameworks, each imported on first use.

A callback (`LightningCallback`, `TransformersCallback`) is a monitor in a framework's loop; a tracker is an
`on_measure` callback of a monitor, which receives each row as it is recorded.
"""

from importlib import import_module
from typing import Any

from fisherscope.integrations.optional_import import MissingFrameworkError

HOMES = {
    "LightningCallback": "lightning",
    "DynamicLoader": "lightning",
    "TransformersCallback": "transformers",
    "DynamicBatchSize": "transformers",
    "TensorBoardTracker": "tensorboard",
    "MLflowTracker": "mlflow",
    "WandbTracker": "wandb",
    "CsvTracker": "csv",
}
"""Module of each public name, called as the framework and as the extra that installs it."""

__all__ = ["HOMES", "MissingFrameworkError", *HOMES]


def __getattr__(name: str) -> Any:
    if name in HOMES:
        return getattr(import_module(f"fisherscope.integrations.{HOMES[name]}"), name)
    raise AttributeError(
        f"module 'fisherscope.integrations' has no attribute {name!r}; expected one of {', '.join(HOMES)}"
    )
