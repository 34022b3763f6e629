"""The same draws and buffers for a repeated forward."""

from __future__ import annotations

import pytest
import torch
from tests.cases.state_guards import DRAWS, Cuda, Draw
from torch import nn
from torch.nn import functional as F

from fisherscope.model_state import (
    rng,
    same_buffers,
    same_draws,
)


@pytest.mark.parametrize("draw", DRAWS, ids=["torch", "python", "numpy"])
def test_the_same_draws_leave_the_users_own(draw: Draw) -> None:
    rng.seed(4)
    expected = [draw(), draw()]
    rng.seed(4)
    assert draw() == expected[0]
    with same_draws(1):
        first = draw()
    with same_draws(1):
        assert draw() == first
    assert draw() == expected[1]


def test_the_same_draws_seed_cuda_and_leave_the_users_own(cuda: Cuda) -> None:
    """Once every CUDA generator stayed at the seed."""
    with same_draws(77):
        assert cuda.values == [77, 77]
        cuda.draw()
    assert cuda.values == [5, 9]


def test_a_check_of_neutrality_leaves_the_users_cuda_generators(cuda: Cuda) -> None:
    from fisherscope.tasks import subject_of
    from fisherscope.verification.diagnostics import check_neutrality

    batch = (torch.randn(6, 3), torch.arange(6) % 2)
    subject = subject_of(nn.Linear(3, 2), F.cross_entropy, batch=batch)
    assert check_neutrality(subject, batch).startswith("bit for bit")
    assert cuda.values == [5, 9]


def test_buffers_have_their_values_again_in_place() -> None:
    norm = nn.BatchNorm1d(3)
    mean, version = norm.running_mean, norm.running_mean._version
    with same_buffers(norm):
        norm(torch.randn(5, 3) + 4)
    assert norm.running_mean is mean
    assert torch.equal(mean, torch.zeros(3))
    assert int(norm.num_batches_tracked) == 0
    assert version <= norm.running_mean._version
