"""Files of MNIST's form, and a user's own task."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np


def idx(array: np.ndarray[Any, Any]) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def mnist_files(folder: Path, train: int = 20, test: int = 10) -> Path:
    rng = np.random.default_rng(0)
    (folder / "mnist").mkdir(parents=True)
    for prefix, count in (("train", train), ("t10k", test)):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        labels = rng.integers(0, 10, count, np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            (folder / "mnist" / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(idx(array)))
    return folder


OWN = """
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, default_collate
def made():
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    return {{"model": lambda: torch.nn.Linear(5, 2), "train": (x, (x[:, 0] > 0).long()){more}}}
def nonsense():
    return 3
def no_data():
    return {{"model": lambda: torch.nn.Linear(5, 2)}}
def misspelt():
    return {{"model": lambda: torch.nn.Linear(5, 2), "train": (torch.zeros(4, 5),), "tset": 1}}
def advised():
    data = [{{"x": torch.randn(5), "y": k % 2}} for k in range(40)]
    loss = lambda model, batch: F.cross_entropy(model(batch["x"]), batch["y"])
    return {{"model": torch.nn.Linear(5, 2), "loss": loss, "data": DataLoader(data, 4, collate_fn=lists)}}
def compared():
    def scores(model, batch):
        output = model(batch["x"])
        loss = F.cross_entropy(output, batch["y"], reduction="none")
        return {{"loss": loss, "error": (output.argmax(1) != batch["y"]).float()}}
    return {{**advised(), "scores": scores}}
def lists(samples):
    batch = default_collate(samples)
    return {{**batch, "collated": True}}
def torch_s():
    data = torch.zeros(4, 5), torch.ones(4).long()
    return {{"model": torch.nn.Linear(5, 2), "loss": F.cross_entropy, "data": data}}
"""
