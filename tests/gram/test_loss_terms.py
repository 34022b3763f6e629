"""Learned weights of losses, and penalties beside them: against a loop over the samples."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.gram import GramError

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


class Weighted(nn.Module):
    """A classifier, and weights that only its loss knows."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(features, 7), nn.Linear(7, 4)
        self.weights = nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x).tanh())
        return out


def terms(z: Tensor, y: Tensor, numbers: random.Random) -> list[Tensor]:
    """Three means over the samples, in the ways that losses are written."""
    one_hot = F.one_hot(y, 4).to(z)
    known = [
        F.cross_entropy(z, y),
        F.mse_loss(z.softmax(1), one_hot),
        z.square().mean(),
        0.5 * F.binary_cross_entropy_with_logits(z, one_hot) + F.l1_loss(z, one_hot),
        -(z.log_softmax(1) * one_hot).sum() / len(y),
        F.huber_loss(z, one_hot, reduction="mean"),
    ]
    return numbers.sample(known, 3)


def weighted(seed: int) -> Loss:
    """A loss of three terms and their learned weights."""

    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        numbers = random.Random(seed)
        parts, s = terms(model(x), y, numbers), model.weights
        kind = seed % 5
        if kind == 0:
            return (torch.exp(-s) * torch.stack(parts) + s).sum()
        if kind == 1:
            return sum(part / (2 * s[k] ** 2) + s[k].abs().log() for k, part in enumerate(parts))
        if kind == 2:
            return torch.stack(parts) @ s.softmax(0)
        if kind == 3:
            return (torch.stack([parts[0], parts[1]]) * s[:2].exp()).sum() + parts[2] - s[2] ** 2
        return torch.stack([parts[0] + parts[1], s.square().sum()]).sum()

    return loss


def alone(model: nn.Module, loss: Loss, x: Tensor, y: Tensor) -> Tensor:
    rows = []
    for k in range(len(x)):
        grads = torch.autograd.grad(loss(model, x[k : k + 1], y[k : k + 1]), list(model.parameters()))
        rows.append(torch.cat([g.flatten() for g in grads]))
    columns = torch.stack(rows)
    return columns @ columns.T


@pytest.mark.parametrize("seed", range(20))
def test_learned_weights_are_split_by_the_samples_own_losses(seed: int) -> None:
    """Batches of two and three are among them: as many samples as terms."""
    torch.manual_seed(seed)
    model, samples = Weighted(5).double(), 2 + seed % 4
    x, y = torch.randn(samples, 5, dtype=torch.float64), torch.randint(0, 4, (samples,))
    with fs.record_gram(model) as record:
        weighted(seed)(model, x, y).backward()
    wanted = alone(model, weighted(seed), x, y)
    assert record.status == "ok"
    assert float((record.gram - wanted).norm() / wanted.norm()) < 1e-10


def test_a_weight_of_a_product_of_losses_is_refused() -> None:
    model = Weighted(5)
    x, y = torch.randn(6, 5), torch.randint(0, 4, (6,))

    def measure() -> None:
        with fs.record_gram(model):
            z = model(x)
            (F.cross_entropy(z, y) * z.square().mean() * model.weights[0]).backward()

    with pytest.raises(GramError, match="weight each sample's loss before they are averaged"):
        measure()


class Policy(nn.Module):
    """A Gaussian policy whose spread only the loss knows, and a value."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.mean, self.value = nn.Linear(5, 8), nn.Linear(8, 2), nn.Linear(8, 1)
        self.log_std = nn.Parameter(torch.randn(2) * 0.3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.body(x).tanh()
        return self.mean(z), self.value(z).squeeze(1)


@pytest.mark.parametrize("entropy", ["of the distribution", "by hand"])
@pytest.mark.parametrize("samples", [2, 8, 9])
def test_a_clipped_policy_loss_is_exact(samples: int, entropy: str) -> None:
    """PPO: ratio of likelihoods, clipped, times the advantage; squared error of the value; entropy bonus."""
    torch.manual_seed(samples)
    model = Policy().double()
    x = torch.randn(samples, 5, dtype=torch.float64)
    actions, returns, before = (torch.randn(samples, k, dtype=torch.float64) for k in (2, 1, 1))

    def loss(x: Tensor, actions: Tensor, returns: Tensor, before: Tensor) -> Tensor:
        mean, value = model(x)
        normal = torch.distributions.Normal(mean, model.log_std.exp())
        ratio = (normal.log_prob(actions).sum(1) - before.squeeze(1)).clamp(-2, 2).exp()
        advantage = returns.squeeze(1) - value.detach()
        gain = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()
        bonus = normal.entropy().sum(1).mean() if entropy == "of the distribution" else model.log_std.sum()
        return -gain + 0.5 * F.mse_loss(value, returns.squeeze(1)) - 0.01 * bonus

    batch = (x, actions, returns, before)
    with fs.record_gram(model) as record:
        loss(*batch).backward()
    rows = []
    for k in range(samples):
        grads = torch.autograd.grad(loss(*(one[k : k + 1] for one in batch)), list(model.parameters()))
        rows.append(torch.cat([g.flatten() for g in grads]))
    wanted = torch.stack(rows) @ torch.stack(rows).T
    assert record.status == "ok"
    assert float((record.gram - wanted).norm() / wanted.norm()) < 1e-10


def squares(model: nn.Module) -> Tensor:
    """A penalty added up in place, from a tensor."""
    total = torch.zeros((), dtype=torch.float64)
    for parameter in model.parameters():
        total += parameter.square().sum()
    return total


def from_zero(model: nn.Module) -> Tensor:
    total: Tensor = sum(parameter.abs().sum() for parameter in model.parameters())  # type: ignore[assignment]
    return total


def to_earlier(model: nn.Module) -> Tensor:
    """L2-SP, EWC, FedProx: weighted distances to weights from before, in place."""
    total = torch.zeros(1, dtype=torch.float64)
    for k, parameter in enumerate(model.parameters()):
        total += ((parameter - parameter.detach() + 0.1 * (k + 1)).square() * (k + 1)).sum()
    return total.squeeze()


@pytest.mark.parametrize("penalty", [squares, from_zero, to_earlier])
@pytest.mark.parametrize("in_place", [False, True])
def test_penalties_are_shared_equally(penalty: Callable[[nn.Module], Tensor], in_place: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4)).double()
    x, y = torch.randn(8, 5, dtype=torch.float64), torch.randint(0, 4, (8,))

    def loss(x: Tensor, y: Tensor) -> Tensor:
        value = F.cross_entropy(model(x), y)
        if in_place:
            value += 0.01 * penalty(model)
            return value
        return value + 0.01 * penalty(model)

    with fs.record_gram(model) as record:
        loss(x, y).backward()
    rows = []
    for k in range(len(x)):
        grads = torch.autograd.grad(loss(x[k : k + 1], y[k : k + 1]), list(model.parameters()))
        rows.append(torch.cat([g.flatten() for g in grads]))
    wanted = torch.stack(rows) @ torch.stack(rows).T
    assert record.status == "ok"
    assert float((record.gram - wanted).norm() / wanted.norm()) < 1e-10
