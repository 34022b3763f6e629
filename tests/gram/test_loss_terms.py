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
