"""What is captured is restored: random generators, CUDA's too, and what a model and an optimizer hold."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.model_state import (
    RandomState,
    host_random_state,
    preserve_module_state,
    preserve_random_state,
    restored_after,
    rng,
    same_buffers,
    same_draws,
)

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


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    return Cuda(monkeypatch)


# Random generators ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", DRAWS, ids=["torch", "python", "numpy"])
def test_a_restored_state_draws_the_same_again(draw: Draw) -> None:
    before = RandomState.capture()
    first = [draw(), draw()]
    before.restore()
    assert [draw(), draw()] == first

    def draw_and_fail() -> None:
        draw()
        raise ZeroDivisionError

    before.restore()
    with pytest.raises(ZeroDivisionError), preserve_random_state():
        draw_and_fail()
    assert draw() == first[0]


def test_every_cuda_generator_is_captured_and_restored(cuda: Cuda) -> None:
    with preserve_random_state():
        cuda.draw()
        assert cuda.values == [6, 10]
    assert cuda.values == [5, 9]
    with preserve_random_state(cuda=False):
        cuda.draw()
    assert cuda.values == [6, 10]


def test_cuda_is_neither_initialised_nor_seeded_for_a_later_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: Any) -> None:
        raise AssertionError("CUDA was touched")

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    for name in ("get_rng_state_all", "set_rng_state_all", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, forbidden)
    assert RandomState.capture().cuda == ()
    with same_draws(3), preserve_module_state(nn.BatchNorm1d(2)), restored_after(nn.Linear(2, 2)):
        torch.rand(2)


def test_the_form_in_checkpoints_is_what_it_was() -> None:
    rng.seed(11)
    saved = rng.state(torch.device("cpu"))
    assert set(saved) == {"torch", "cuda", "python", "numpy"}
    assert saved["cuda"] is None
    name, keys, position, *_ = saved["numpy"]
    assert (name, keys.dtype, tuple(keys.shape), position) == ("MT19937", torch.int64, (624,), 624)
    first = [draw() for draw in DRAWS]
    rng.seed(12)
    rng.restore(saved, torch.device("cpu"))
    assert [draw() for draw in DRAWS] == first


def test_host_random_state_shows_whether_something_was_drawn() -> None:
    before = host_random_state()
    torch.rand(1)
    assert host_random_state() == before
    random.random()
    assert host_random_state() != before


# The same draws: fs.examine ---------------------------------------------------------------------------------


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


# A probe: fs.record_gram ------------------------------------------------------------------------------------


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


def test_a_probe_leaves_no_trace(cuda: Cuda) -> None:
    model = Counting()
    before, state = held(model), copy.deepcopy(model.state_dict())
    mean, version = model.norm.running_mean, model.norm.running_mean._version
    random_state = torch.get_rng_state()
    with preserve_module_state(model):
        model.eval()
        model.train()
        model(torch.randn(4, 3))
        cuda.draw()
        random.random()
        model.training = False
        assert model.norm.running_mean is not mean
    assert held(model) == before
    assert model.norm.running_mean is mean
    assert mean._version == version
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert cuda.values == [5, 9]


def test_a_shared_buffer_is_shared_during_a_probe_too() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3))
    model[1]._buffers = model[0]._buffers.copy()
    with preserve_module_state(model):
        assert model[0].running_mean is model[1].running_mean
        model[0].running_mean.fill_(7)
    assert torch.equal(model[1].running_mean, torch.zeros(3))


def test_a_recorded_step_leaves_counters_and_generators_of_the_first_forward() -> None:
    """The probe calls the model three times more; none of it is to be seen."""
    ends = []
    for recorded in (False, True):
        rng.seed(2)
        model = Counting()
        x = torch.randn(5, 3)
        if recorded:
            with fs.record_gram(model, strict=False):
                model(x).sum().backward()
        else:
            model(x).sum().backward()
        ends.append((held(model)[:4], [draw() for draw in DRAWS]))
    assert ends[0] == ends[1]


# After training: fs.advise ----------------------------------------------------------------------------------


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


# A data set's own draws: fs.tasks ---------------------------------------------------------------------------


def test_samples_that_draw_follow_from_seed_epoch_and_index_and_leave_the_users_generators(
    cuda: Cuda,
) -> None:
    from fisherscope.tasks.user_data import DatasetSplit

    class Drawing:
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> list[float]:
            cuda.draw()
            return [draw() for draw in DRAWS]

    split = DatasetSplit(Drawing())
    rng.seed(8)
    expected = [draw() for draw in DRAWS]
    rng.seed(8)
    first = split.batch(torch.arange(4), epoch=1)
    again = split.batch(torch.arange(4), epoch=1)
    assert torch.equal(torch.stack(first), torch.stack(again))
    assert [draw() for draw in DRAWS] == expected
    assert cuda.values == [8 + 8, 8 + 8]  # seeded by rng.seed alone, so it runs on
