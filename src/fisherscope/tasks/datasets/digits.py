"""Load the digits that scikit-learn ships: 1797 images of 8×8 pixels."""

from __future__ import annotations

import numpy as np
import torch

from fisherscope.tasks.datasets.images import Images
from fisherscope.tasks.split import seeded_order

TRAINING, VALIDATION = 300, 500
"""Sizes of the splits: few training samples, so that settings differ in error; 997 are left for testing."""


def digits() -> tuple[Images, Images, Images]:
    """Return (training, validation, test) of 1×8×8 pixels, the same each time."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = torch.from_numpy(bunch.images.astype(np.float32)).unsqueeze(1)
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    order = seeded_order(len(labels))
    mean, std = [float(pixels.mean())], [float(pixels.std())]
    parts = order.split([TRAINING, VALIDATION, len(order) - TRAINING - VALIDATION])
    train, validation, test = (Images(pixels[part], labels[part], mean, std) for part in parts)
    return train, validation, test
