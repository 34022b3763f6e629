"""Planted spikes: named first, and the watch leaves training as it is."""

from __future__ import annotations

import json

import pytest
import torch
from experiments.spikes.planted import plant
from torch import nn

import fisherscope as fs


@pytest.mark.parametrize("kind", ["sample", "micro-batch", "layer"])
@pytest.mark.parametrize("seed", range(3))
def test_a_planted_spike_is_named_first(kind, seed):
    spikes, planted, step = plant(kind, seed)
    assert [spike["step"] for spike in spikes] == [step]
    assert first(spikes[0], kind) == planted
    assert spikes[0]["blame"] == "replayed"


def first(spike, kind):
    if kind == "layer":
        return spike["layers"][0]["parameter"]
    if kind == "micro-batch":
        return spike["micro_batches"][0]["micro_batch"]
    return spike["blamed_samples"][0]["sample"]


def test_a_measured_step_needs_no_replay():
    spikes, planted, _ = plant("sample", 0, every=1)
    assert first(spikes[0], "sample") == planted


class Noisy(nn.Module):
    """Dropout, a running statistic and a counter: what a replay must put back."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.Linear(16, 2))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.layers(x)


def train(on_spike, steps=30, spike=25, change=None, **options):
    torch.manual_seed(0)
    model = Noisy()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    monitor = fs.Monitor(model, optimizer, every=1000, on_spike=on_spike, **options)
    for k in range(steps):
        x = torch.randn(16, 6)
        y = (x[:, 0] > 0).float()[:, None].expand(-1, 2).clone()
        if k == spike:
            y[5] *= 1000
            y[5] += 1000
        optimizer.zero_grad()
        with monitor.observe():
            (model(x) - y).square().mean().backward()
            if change is not None and k == spike:
                change(x)
        optimizer.step()
    return model, optimizer, monitor


def test_the_watch_leaves_training_as_it_is_bit_for_bit():
    model, optimizer, _ = train(False)
    drawn = torch.rand(3)
    twin, own, monitor = train(True)
    assert torch.equal(torch.rand(3), drawn)
    assert monitor.spikes[0]["step"] == 25
    assert monitor.spikes[0]["blame"] == "replayed"
    assert monitor.spikes[0]["blamed_samples"][0]["sample"] == 5
    assert model.calls == twin.calls
    for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)
        assert torch.equal(optimizer.state[a]["momentum_buffer"], own.state[b]["momentum_buffer"])


def test_a_forward_that_cannot_be_run_again_keeps_the_spike_without_blame():
    _, _, monitor = train(True, change=lambda x: x.zero_())
    assert (
        monitor.spikes[0]["blame"] == "not replayed: an input of the model was overwritten after its forward"
    )
    assert monitor.spikes[0]["blamed_samples"] == []
    assert monitor.spikes[0]["layers"][0]["parameter"]


def test_a_gradient_that_is_not_finite_names_its_sample():
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    monitor = fs.Monitor(model, torch.optim.SGD(model.parameters(), 0.0), every=1000, on_spike=True)
    for k in range(3):
        x = torch.randn(8, 4)
        x[3] = float("inf") if k == 2 else 0.0
        model.zero_grad()
        with monitor.observe(ids=[f"file-{i}" for i in range(8)]):
            model(x).square().mean().backward()
    assert [spike["step"] for spike in monitor.spikes] == [2]
    assert monitor.spikes[0]["norm"] is None
    assert monitor.spikes[0]["blamed_samples"][0]["sample"] == "file-3"


def test_spikes_are_saved_resumed_and_written_to_the_run(tmp_path):
    with fs.open_run(tmp_path / "run", {"seed": 0}) as run:
        _, _, monitor = train(True, run=run)
    saved = json.loads(json.dumps(monitor.state_dict()))
    model = Noisy()
    resumed = fs.Monitor(model, torch.optim.SGD(model.parameters(), 0.01), every=1000, on_spike=True)
    resumed.load_state_dict(saved)
    assert resumed.spikes == monitor.spikes
    assert fs.runs.spikes(tmp_path / "run") == monitor.spikes
    assert "spikes" not in train(False)[2].state_dict()
