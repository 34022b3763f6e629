"""What can't be split has a Gram by losses."""

from __future__ import annotations

import torch
from tests.cases.gram_steps import (
    routed,
    samples,
    step,
)
from torch.nn import functional as F

import fisherscope as fs


def test_what_cannot_be_split_has_a_gram_by_losses() -> None:
    torch.manual_seed(0)
    model, (x, y) = routed().double(), samples(12)
    x = x.double()
    with fs.record_gram(model, semantics="per_loss") as record:
        record.backward(F.cross_entropy(model(x), y, reduction="none"))
    rows = []
    for k in range(12):
        model.zero_grad()
        step(model, x[k : k + 1], y[k : k + 1])
        rows.append(
            torch.cat(
                [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in model.parameters()]
            )
        )
    wanted = torch.stack(rows) @ torch.stack(rows).T
    assert float((record.gram - wanted).norm() / wanted.norm()) < 1e-12
