"""A grid of eight short runs."""

from __future__ import annotations

GRID = {
    "task": "digits/mlp",
    "batch_sizes": [16, 64],
    "lrs": [0.02, 0.1],
    "seeds": [0, 1],
    "epochs": 6,
    "every": 5,
}
