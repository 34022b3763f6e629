"""What is refused names a remedy that works there: each is followed and compared with a loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.gram import GramError

Losses = Callable[[nn.Module, Tensor, Tensor], Tensor]


def gradient_penalty(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    z = model(x)
    (slope,) = torch.autograd.grad(z.sum(), x, create_graph=True)
    return F.cross_entropy(z, y, reduction="none") + (slope.norm(dim=1) - 1) ** 2


def equation(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The squared residual of u'' = u, as physics-informed networks have it."""
    x = x.clone().requires_grad_()
    u = model(x)
    (first,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
    return (second.sum(1) - u.sum(1)) ** 2


def vmapped(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(torch.func.vmap(model)(x), y, reduction="none")


def tangent(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    value, slope = torch.func.jvp(model, (x,), (torch.ones_like(x),))
    return F.cross_entropy(value + slope, y, reduction="none")


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4)).double()


def alone(model: nn.Module, losses: list[Tensor]) -> Tensor:
    rows = []
    for loss in losses:
        grads = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        rows.append(
            torch.cat(
                [
                    (torch.zeros_like(p) if g is None else g).flatten()
                    for p, g in zip(model.parameters(), grads, strict=True)
                ]
            )
        )
    columns = torch.stack(rows)
    return columns @ columns.T


def assert_equal(gram: Tensor, wanted: Tensor) -> None:
    assert float((gram - wanted).norm() / wanted.norm()) < 1e-10


def refusal(model: nn.Module, loss: Callable[[], Tensor], **options: Any) -> str:
    def measure() -> None:
        with fs.record_gram(model, **options):
            loss().backward()

    with pytest.raises(GramError) as caught:
        measure()
    model.zero_grad()
    return str(caught.value)


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        (gradient_penalty, "create_graph=True"),
        (equation, "create_graph=True"),
        (vmapped, "inside torch.func"),
        (tangent, "inside torch.func"),
    ],
)
def test_per_loss_measures_what_it_is_named_for(losses: Losses, words: str) -> None:
    torch.manual_seed(0)
    model, x, y = mlp(), torch.randn(6, 5, dtype=torch.float64), torch.randint(0, 4, (6,))
    text = refusal(model, lambda: losses(model, x, y).mean())
    assert words in text
    assert "semantics='per_loss'" in text
    assert "batch=" not in text
    with fs.record_gram(model, semantics="per_loss") as record:
        record.backward(losses(model, x, y))
    wanted = alone(model, [losses(model, x[k : k + 1], y[k : k + 1]).sum() for k in range(6)])
    assert_equal(record.gram, wanted)


class FusedLoss(torch.autograd.Function):
    """A layer and its cross entropy, whose gradients are formed in the forward."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, y: Tensor) -> Tensor:
        with torch.enable_grad():
            h, weight = h.detach().requires_grad_(), weight.detach().requires_grad_()
            loss = F.cross_entropy(h @ weight.T, y)
            ctx.save_for_backward(*torch.autograd.grad(loss, (h, weight)))
        return loss.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return *(gradient * saved for saved in ctx.saved_tensors), None


def test_a_fused_loss_is_exact_apart() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"body": nn.Linear(5, 8), "head": nn.Linear(8, 4, bias=False)}).double()
    x, y = torch.randn(6, 5, dtype=torch.float64), torch.randint(0, 4, (6,))
    text = refusal(model, lambda: FusedLoss.apply(model["body"](x).tanh(), model["head"].weight, y))
    assert "call the layer and the loss apart" in text

    def apart(x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(F.linear(model["body"](x).tanh(), model["head"].weight), y)

    with fs.record_gram(model) as record:
        apart(x, y).backward()
    assert_equal(record.gram, alone(model, [apart(x[k : k + 1], y[k : k + 1]) for k in range(6)]))


def test_nested_tensors_are_measured_as_rows() -> None:
    torch.manual_seed(0)
    model, lengths = mlp(), torch.tensor([3, 2, 4])
    rows, y = torch.randn(9, 5, dtype=torch.float64), torch.randint(0, 4, (3,))
    nested = torch.nested.nested_tensor(list(rows.split(lengths.tolist())), layout=torch.jagged)
    text = refusal(model, lambda: torch.stack([z.sum() for z in model(nested).unbind()]).mean())
    assert "sample_of=torch.repeat_interleave" in text
    of = torch.repeat_interleave(torch.arange(3), lengths)

    def loss(z: Tensor, of: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(z.new_zeros(len(y), 4).index_add(0, of, z), y)

    with fs.record_gram(model, sample_of=of) as record:
        loss(model(nested.values()), of, y).backward()
    parts = [loss(model(rows[of == k]), of[of == k] - k, y[k : k + 1]) for k in range(3)]
    assert_equal(record.gram, alone(model, parts))


class Bags(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(10, 5), nn.Linear(5, 4)

    def forward(self, ids: Tensor, offsets: Tensor) -> Tensor:
        out: Tensor = self.head(self.bag(ids, offsets).tanh())
        return out


def test_bags_by_offsets_are_measured_with_the_samples_of_their_indices() -> None:
    torch.manual_seed(0)
    model, y = Bags().double(), torch.randint(0, 4, (4,))
    ids, offsets = torch.randint(0, 10, (9,)), torch.tensor([0, 2, 3, 7])
    text = refusal(model, lambda: F.cross_entropy(model(ids, offsets), y))
    given = text.split("sample_of=")[1].rstrip(".")
    with fs.record_gram(model, sample_of=eval(given)) as record:  # as the message has it
        F.cross_entropy(model(ids, offsets), y).backward()
    ends = [*offsets.tolist(), 9]
    parts = [
        F.cross_entropy(model(ids[ends[k] : ends[k + 1]], torch.tensor([0])), y[k : k + 1]) for k in range(4)
    ]
    assert_equal(record.gram, alone(model, parts))
