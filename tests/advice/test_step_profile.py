"""Batch sizes beyond the memory."""

from __future__ import annotations

import torch
from tests.cases.advised_models import QUICK, data
from torch import nn
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.advice.training_step import is_out_of_memory


def test_a_size_beyond_the_memory_given_is_not_tried() -> None:
    model = nn.Sequential(nn.Linear(6, 4096), nn.ReLU(), nn.Linear(4096, 2))
    found = fs.advise(
        model, F.cross_entropy, data(4096), **{**QUICK, "sizes": (256, 4096)}, memory_limit=8 << 20
    )
    assert found.steps[-1].fits is False
    assert "free" in found.steps[-1].why


class Hungry(nn.Linear):
    """Asks the allocator for 64 TiB at 32 samples."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + (torch.zeros(1 << 46, dtype=torch.uint8)[0] if len(x) == 32 else 0)


def test_running_out_of_memory_is_recovered_from_and_said() -> None:
    found = fs.advise(Hungry(6, 2), F.cross_entropy, data(), **{**QUICK, "sizes": (4, 16, 32, 64)})
    assert [(step.batch_size, step.fits) for step in found.steps] == [(4, True), (16, True), (32, False)]
    assert "no: out of memory" in str(found)
    assert "the warm-up used batches of 16, the noise scale batches of 50" in str(found)
    assert found.fastest in (4, 16)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
