"""The digits that scikit-learn ships: 1797 images of 8×8, split so that settings differ."""

from __future__ import annotations

import numpy as np
import torch

from fisherscope.tasks.datasets.images import Images
from fisherscope.tasks.task import seeded_order

TRAINING, VALIDATION = 300, 500
"""Few to train on, so that errors of settings differ; the other 997 are the test split."""


def digits() -> tuple[Images, Images, Images]:
    """(training 300, validation 500, test 997) of 1×8×8, always the same."""
    from sklearn.datasets import load_digits

    held = load_digits()
    pixels = torch.from_numpy(held.images.astype(np.float32)).unsqueeze(1)
    labels = torch.from_numpy(held.target.astype(np.int64))
    order = seeded_order(len(labels))
    mean, std = [float(pixels.mean())], [float(pixels.std())]
    parts = order.split([TRAINING, VALIDATION, len(order) - TRAINING - VALIDATION])
    train, validation, test = (Images(pixels[part], labels[part], mean, std) for part in parts)
    return train, validation, test
