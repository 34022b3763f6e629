"""What a recorder leaves behind when its block has ended."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fisherscope as fs


class Shuffled(nn.Module):
    """A model on its samples in a random order."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        order = torch.randperm(len(x))
        out: Tensor = self.model(x[order])
        return out[order.argsort()]


def network(norm: type[nn.Module]) -> nn.Module:
    """Three linear layers and a norm."""
    return nn.Sequential(
        nn.Linear(8, 6), norm(6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 4)
    )  # fmt: skip


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.LayerNorm])
def test_a_step_leaves_nothing_for_the_garbage_collector(
    norm: type[nn.Module], moving: bool, fused: bool
) -> None:
    """Parts that refer to each other would stay, with tensors of the step, until a collection."""
    model = Shuffled(network(norm)) if moving else network(norm)
    x, y = torch.randn(5, 8), torch.randint(0, 4, (5,))

    def step() -> Any:
        with fs.record_gram(model, fused=fused) as record:
            F.cross_entropy(model(x), y).backward()
        assert record.status == "ok"
        model.zero_grad()

    for _ in range(4):
        step()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        gc.collect()
        for _ in range(3):
            step()
        assert gc.collect() == 0
    finally:
        if was_enabled:
            gc.enable()
