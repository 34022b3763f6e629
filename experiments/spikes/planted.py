"""Trainings with a planted spike: a corrupted sample, a bad micro-batch, an exploding layer."""

from __future__ import annotations

from functools import partial

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.monitor.spikes.norm_band import NormBand

SIZE, MICRO, STEP = 64, 4, 40


class Scaled(torch.autograd.Function):
    """The identity, whose gradient is multiplied: an exploding layer."""

    @staticmethod
    def forward(ctx, weight, factor):
        ctx.factor = factor
        return weight.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.factor, None


class Network(nn.Module):
    """Three layers; the gradient of one of them can be multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(64, 48), nn.Linear(48, 32), nn.Linear(32, 10)])
        self.factors = [1.0, 1.0, 1.0]

    def forward(self, x):
        for k, layer in enumerate(self.layers):
            weight = Scaled.apply(layer.weight, self.factors[k]) if self.factors[k] != 1 else layer.weight
            x = F.linear(x, weight, layer.bias)
            x = F.relu(x) if k < 2 else x
        return x


def loss_of(model, x, y, weights):
    """Return the weighted mean loss of a batch."""
    return (weights * F.cross_entropy(model(x), y, reduction="none")).mean()


def plant(kind, seed, every=1000):
    """Train on digits and plant the smallest spike that leaves the band; (spikes, what was planted, step)."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.tensor(load_digits().images, dtype=torch.float32).flatten(1) / 16
    labels = torch.tensor(load_digits().target)
    torch.manual_seed(seed)
    model = Network()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    micro = {"accumulate": True} if kind == "micro-batch" else {}
    monitor = fs.Monitor(model, optimizer, every=every, on_spike=True, **micro)
    planted = int(
        torch.randint({"sample": SIZE, "micro-batch": MICRO, "layer": 3}[kind], (), generator=generator)
    )
    for step in range(STEP + 1):
        chosen = torch.randint(len(labels), (SIZE,), generator=generator)
        x, y, weights = images[chosen], labels[chosen], torch.ones(SIZE)
        if step == STEP:
            band = monitor.state.spikes._band
            batch = (model, x, y, weights)
            strength = smallest(partial(norm_at, batch, kind, planted), band)
            y, weights, factors = corrupted(kind, planted, y, weights, strength)
            model.factors = factors
        optimizer.zero_grad()
        with monitor.observe(ids=list(range(SIZE))):
            parts = MICRO if kind == "micro-batch" else 1
            for part in torch.arange(SIZE).chunk(parts):
                (loss_of(model, x[part], y[part], weights[part]) / parts).backward()
        optimizer.step()
    name = f"layers.{planted}.weight" if kind == "layer" else planted
    return monitor.spikes, name, STEP


def corrupted(kind, planted, y, weights, strength):
    """Give wrong labels and larger weights to a sample or a micro-batch, or multiply a layer's gradient."""
    y, weights, factors = y.clone(), weights.clone(), [1.0, 1.0, 1.0]
    if kind == "layer":
        factors[planted] = strength
    else:
        rows = slice(planted, planted + 1) if kind == "sample" else slice(16 * planted, 16 * planted + 16)
        y[rows] = (y[rows] + 5) % 10
        weights[rows] = strength
    return y, weights, factors


def norm_at(batch, kind, planted, strength):
    """Return the gradient's norm of a batch that is corrupted by so much."""
    model, x, y, weights = batch
    return norm_of(model, x, *corrupted(kind, planted, y, weights, strength))


def norm_of(model, x, y, weights, factors):
    """Return the gradient's norm of a batch."""
    before, model.factors = model.factors, factors
    gradients = torch.autograd.grad(loss_of(model, x, y, weights), list(model.parameters()))
    model.factors = before
    return float(torch.stack([g.norm() for g in gradients]).norm())


def smallest(norm, band: NormBand):
    """Find the least strength that leaves the band, by bisection; return a hundredth above it."""
    low, high = 1.0, 2.0
    while not band.is_spike(norm(high)):
        low, high = high, 2 * high
    for _ in range(20):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if band.is_spike(norm(middle)) else (middle, high)
    return 1.01 * high
