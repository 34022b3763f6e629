"""The monitor in other people's loops and trackers: a file a framework, imported on first use.

A callback (`LightningCallback`, `TransformersCallback`) is a monitor in a framework's loop; a tracker is an
`on_measure` callable of a monitor, which gets each row as it is recorded.
"""

from importlib import import_module
from typing import Any

from fisherscope.integrations.optional_import import MissingFrameworkError

HOMES = {
    "LightningCallback": "lightning",
    "DynamicLoader": "lightning",
    "TransformersCallback": "transformers",
    "TensorBoardTracker": "tensorboard",
    "MLflowTracker": "mlflow",
    "WandbTracker": "wandb",
    "CsvTracker": "csv",
}
"""Public name → the module that has it, named as the framework and as the extra that installs it."""

__all__ = ["HOMES", "MissingFrameworkError", *HOMES]


def __getattr__(name: str) -> Any:
    if name in HOMES:
        return getattr(import_module(f"fisherscope.integrations.{HOMES[name]}"), name)
    raise AttributeError(
        f"module 'fisherscope.integrations' has no attribute {name!r}; it has {', '.join(HOMES)}"
    )
