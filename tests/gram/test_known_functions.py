"""Functions that nobody knows: rows that they move are refused by name, and read once they are registered."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.gram import GramError
from fisherscope.gram.identity import known_functions


class Turn(torch.autograd.Function):
    """The rows in reverse where the flag says so."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, flag: Tensor) -> Tensor:
        ctx.save_for_backward(flag)
        return x.flip(0) if flag else x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (flag,) = ctx.saved_tensors
        return (gradient.flip(0) if flag else gradient), None


@torch.library.custom_op("fisherscope_tests::turn", mutates_args=())
def turn(x: Tensor, flag: Tensor) -> Tensor:
    return x.flip(0).clone() if flag else x.clone()


turn.register_autograd(
    lambda ctx, gradient: (turn(gradient, ctx.flag), None),
    setup_context=lambda ctx, inputs, output: setattr(ctx, "flag", inputs[1]),
)


class Turned(nn.Module):
    """A layer that sees the batch in reverse if its sum is positive."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 5), nn.Linear(5, 4)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        flag = x.sum() > 0
        out: Tensor = self.last(self.function(self.first(self.function(x, flag)).tanh(), flag))
        return out


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_functions, "_known", {})


def batches() -> list[tuple[Tensor, Tensor]]:
    """One that stays in place, one that is reversed, in that order and once more."""
    torch.manual_seed(0)
    x = torch.randn(7, 6, dtype=torch.float64)
    x = x - x.mean() - 0.1
    y = torch.randint(0, 4, (7,))
    return [(x, y), (-x, y), (x, y), (-x, y)]


def error(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Relative, to a loop over the samples; each alone is its own reverse."""
    with fs.record_gram(model) as record:
        F.cross_entropy(model(x), y).backward()
    model.zero_grad()
    rows = []
    for k in range(len(x)):
        loss = F.cross_entropy(model(x[k : k + 1]), y[k : k + 1])
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]))
    wanted = torch.stack(rows) @ torch.stack(rows).T
    return float((record.gram - wanted).norm() / wanted.norm())


@pytest.mark.parametrize(("function", "name"), [(Turn.apply, "Turn"), (turn, "fisherscope_tests_turn")])
def test_rows_that_an_unknown_function_moves_are_refused_by_its_name(function: Any, name: str) -> None:
    model = Turned(function).double()
    still, moved, *_ = batches()
    assert error(model, *still) < 1e-12
    with pytest.raises(GramError, match=f"`{name}`.*register_row_mover"):
        error(model, *moved)
    model.zero_grad()
    assert error(model, *still) < 1e-12


@pytest.mark.parametrize(
    ("function", "registered"),
    [(Turn.apply, Turn), (turn, turn), (turn, "fisherscope_tests::turn"),
     (turn, torch.ops.fisherscope_tests.turn), (turn, torch.ops.fisherscope_tests.turn.default)],
)  # fmt: skip
def test_a_registered_function_is_read_through(function: Any, registered: Any) -> None:
    fs.register_row_mover(registered)
    model = Turned(function).double()
    for batch in batches():
        assert error(model, *batch) < 1e-12


def test_what_is_no_function_can_not_be_registered() -> None:
    with pytest.raises(GramError, match="expected a subclass of"):
        fs.register_row_mover(3)
