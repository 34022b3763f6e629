"""Random draws and CUDA generators."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

Draw = Callable[[], float]


DRAWS: list[Draw] = [lambda: float(torch.rand(())), random.random, lambda: float(np.random.random())]  # noqa: NPY002


class Cuda:
    """Generators of two devices, as `torch.cuda` shows them; a draw moves one on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.states = [torch.tensor([5]), torch.tensor([9])]
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: [s.clone() for s in self.states])
        monkeypatch.setattr(torch.cuda, "set_rng_state_all", self.set_all)
        monkeypatch.setattr(torch.cuda, "manual_seed_all", self.seed_all)

    def set_all(self, states: Any) -> None:
        self.states = [state.clone() for state in states]

    def seed_all(self, seed: int) -> None:
        self.states = [torch.tensor([seed]), torch.tensor([seed])]

    def draw(self) -> None:
        self.states = [state + 1 for state in self.states]

    @property
    def values(self) -> list[int]:
        return [int(state) for state in self.states]


class Counting(nn.Module):
    """Holds what modules of users hold beside parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)
        self.calls, self.seen, self.memo = 0, [1], {"a": 1}
        self.offset = torch.zeros(3)
        self.register_buffer("steps", None)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen.append(len(x))
        self.memo["b"] = 2
        self.latest = x
        self.steps = torch.ones(1)
        self.offset += 1
        return self.norm(self.linear(x)) + self.offset + torch.rand(3)


def held(model: Counting) -> tuple[Any, ...]:
    """Everything but the values of tensors."""
    return (
        model.calls,
        list(model.seen),
        dict(model.memo),
        hasattr(model, "latest"),
        model.steps,
        model.training,
    )
