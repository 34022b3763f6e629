"""The task of the recorded runs: a small network with BatchNorm and dropout on the embedded digits."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset


def small_digits():
    """Digits as 64 numbers each; model, data, loss and scores, as `fisherscope train` takes them."""
    images, labels = load_digits(return_X_y=True)
    data = TensorDataset(torch.as_tensor(images / 16, dtype=torch.float32), torch.as_tensor(labels))

    def model():
        return nn.Sequential(
            nn.Linear(64, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.1), nn.Linear(12, 10)
        )

    def loss(model, batch):
        x, y = batch
        return F.cross_entropy(model(x), y)

    def scores(model, batch):
        x, y = batch
        out = model(x)
        return {"loss": F.cross_entropy(out, y, reduction="none"), "error": (out.argmax(1) != y).float()}

    return {"model": model, "train": data, "loss": loss, "scores": scores}
