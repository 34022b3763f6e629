"""A probe leaves no trace."""

from __future__ import annotations

import copy
import random

import torch
from tests.cases.state_guards import DRAWS, Counting, Cuda, held
from torch import nn

import fisherscope as fs
from fisherscope.model_state import (
    preserve_module_state,
    rng,
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
