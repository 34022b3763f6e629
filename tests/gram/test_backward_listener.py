"""Backward passes that can't be measured are refused by name."""

from __future__ import annotations

from typing import Any

import torch
from tests.cases.gram_steps import (
    Called,
    recorded,
    samples,
    step,
    trained_as_unmeasured,
)
from torch import Tensor, nn

import fisherscope as fs
from fisherscope.gram import IncompleteError


def penalised(model: nn.Module, x: Tensor) -> Tensor:
    """A critic with a penalty on its gradient: a derivative of a derivative."""
    x = x.detach().requires_grad_()
    out = model(x)
    (slope,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    return out.mean() + (slope.norm(2, 1) - 1).square().mean()


def test_a_gradient_penalty_is_refused_and_has_a_gram_by_losses() -> None:
    torch.manual_seed(0)
    model, (x, _) = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).double(), samples()
    x = x.double()
    with trained_as_unmeasured(model, lambda m: penalised(m, x).backward()):
        recorded(model, lambda m: penalised(m, x).backward(), True, IncompleteError, "gradient penalty")
    with fs.record_gram(model, semantics="per_loss") as record:
        record.backward(torch.stack([penalised(model, x[k : k + 1]) for k in range(5)]))
    rows = [
        torch.autograd.grad(penalised(model, x[k : k + 1]), list(model.parameters()))[:3] for k in range(5)
    ]
    columns = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
    torch.testing.assert_close(record.gram, columns @ columns.T + 1)  # + 1: the last bias, which adds to each


class Reversible(torch.autograd.Function):
    """A block whose backward runs it again, as reversible networks do."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, block: nn.Module) -> Tensor:
        ctx.block = block
        ctx.save_for_backward(x)
        return block(x)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None]:
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            ctx.block(x).backward(gradient)
        return x.grad, None


def test_a_reversible_block_is_refused_by_its_name() -> None:
    def forward(parts: Any, x: Tensor) -> Tensor:
        return parts["head"](Reversible.apply(parts["first"](x), parts["block"]))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    block = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    model, (x, y) = Called(forward, first=nn.Linear(4, 4), block=block, head=nn.Linear(4, 3)), samples()
    with trained_as_unmeasured(model, lambda m: step(m, x, y)):
        recorded(
            model, lambda m: step(m, x, y), True, IncompleteError, r"parts\.block\.0.*reversible network"
        )
