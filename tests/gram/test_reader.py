"""Models that return only their loss and compute on some rows: samples are followed forward to them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fisherscope as fs


class Adaptive(nn.Module):
    """A loss whose clusters of rare classes see only the rows of those classes."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.loss = nn.Linear(5, 16), nn.AdaptiveLogSoftmaxWithLoss(16, 12, [3, 7], div_value=2.0)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        out: Tensor = self.loss(self.body(x).tanh(), y).loss
        return out


class Masked(nn.Module):
    """A head on the tokens that have a label, inside a model that returns its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(5, 8), nn.Linear(8, 12)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        z = self.body(x.unsqueeze(1) * torch.linspace(0.5, 1, 3).view(1, 3, 1).to(x)).tanh()
        keep = y.unsqueeze(1) > torch.tensor([0, 3, 6])
        losses = F.cross_entropy(self.head(z[keep]), y.unsqueeze(1).expand(-1, 3)[keep], reduction="none")
        return torch.zeros(keep.shape).to(x).masked_scatter(keep, losses).sum(1).mean()


@pytest.mark.parametrize("kind", [Adaptive, Masked])
@pytest.mark.parametrize("seed", range(4))
def test_rows_chosen_inside_a_loss_are_exact(kind: type[nn.Module], seed: int) -> None:
    torch.manual_seed(seed)
    model = kind().double()
    for _ in range(2):
        x, y = torch.randn(7, 5, dtype=torch.float64), torch.randint(1, 12, (7,))
        model.zero_grad()
        with fs.record_gram(model) as record:
            model(x, y).backward()
        rows = []
        for k in range(7):
            loss = model(x[k : k + 1], y[k : k + 1])
            grads = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
            rows.append(
                torch.cat([
                    (torch.zeros_like(p) if g is None else g).flatten()
                    for p, g in zip(model.parameters(), grads, strict=True)
                ])
            )  # fmt: skip
        wanted = torch.stack(rows) @ torch.stack(rows).T
        assert record.status == "ok"
        assert float((record.gram - wanted).norm() / wanted.norm()) < 1e-10
