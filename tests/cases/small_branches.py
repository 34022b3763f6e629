"""A short run of the digits, and what is branched from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fisherscope.training import train

SETTINGS: dict[str, Any] = {
    "task": "digits/mlp", "batch_size": 16, "lr": 3e-4, "epochs": 6, "optimizer": "AdamW", "threads": 1,
    "schedule": "cosine", "measure": False, "limit_test": 200,
}  # fmt: skip
OPTIONS: dict[str, Any] = {"sizes": ("0.5x", 16, "2x"), "samples": 1024, "orders": 2, "rescale": ("sqrt",)}
WORDS = ("--sizes", "0.5x,16,2x", "--samples", "1024", "--orders", "2", "--rescale", "sqrt", "--jobs", "2")


def parent_of(root: Path) -> Path:
    """Train two epochs of six, and return the run's directory."""
    return train(SETTINGS, root, until=2).path
