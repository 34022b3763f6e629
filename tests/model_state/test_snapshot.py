"""A model that was trained in a block is what it was."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.cases.state_guards import Counting, Cuda, held
from torch import Tensor, nn
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.model_state import (
    restored_after,
)


def test_a_model_that_was_trained_in_the_block_is_what_it_was(cuda: Cuda) -> None:
    model = Counting()
    model.norm.eval()
    model.linear.bias.requires_grad_(False)
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    before, gradient = held(model), model.linear.weight.grad
    states = copy.deepcopy((model.state_dict(), optimizer.state_dict(), gradient, model.offset))
    random_state = torch.get_rng_state()

    def train_and_fail() -> None:
        model.train()
        model.linear.bias.requires_grad_(True)
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(6, 3)).square().sum().backward()
            optimizer.step()
        optimizer.param_groups[0]["lr"] = 0.0
        cuda.draw()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), restored_after(model, optimizer):
        train_and_fail()
    assert held(model) == before
    assert not model.norm.training
    assert not model.linear.bias.requires_grad
    assert model.linear.weight.grad is gradient
    after = (model.state_dict(), optimizer.state_dict(), gradient, model.offset)
    leaves = [torch.utils._pytree.tree_leaves(state) for state in (states, after)]
    for one, other in zip(*leaves, strict=True):
        assert torch.equal(one, other) if isinstance(one, Tensor) else one == other
    assert torch.equal(torch.get_rng_state(), random_state)
    assert cuda.values == [5, 9]


def test_advice_leaves_attributes_of_modules() -> None:
    class Counted(nn.Linear):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(x)

    model = Counted(6, 2)
    x = torch.randn(64, 6)
    data = (x, (x[:, 0] > 0).long())
    fs.advise(model, F.cross_entropy, data, warmup=2, sizes=(4,), seconds=20)
    assert model.calls == 0
    assert "calls" not in vars(model)


def test_a_graph_made_before_can_still_be_differentiated() -> None:
    model = nn.Linear(3, 2)
    loss = model(torch.randn(4, 3)).square().sum()
    with restored_after(model):
        pass
    loss.backward()
    assert model.weight.grad is not None
