"""Small training loops with a monitor, whose every float is to be that of an unmonitored loop."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fisherscope as fs

MODES = {"neutral": {}, "fused": {"fused": True}, "accumulate": {"accumulate": True}}


class Doubled(torch.autograd.Function):
    """A user's own function."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x * weight

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        return gradient * weight, (gradient * x).sum(0)


class Mixed(nn.Module):
    """Most kinds of layers, tied and derived weights, dropout and a function of the user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 4)
        self.convolution = nn.Conv1d(4, 4, 3, padding=1, bias=False)
        self.norm = nn.LayerNorm(4)
        self.batch_norm = nn.BatchNorm1d(4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.recurrence = nn.GRU(4, 4, batch_first=True)
        self.dropout = nn.Dropout(0.3)
        self.scale = nn.Parameter(torch.ones(4))
        self.linear = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
        self.head = nn.Linear(4, 5)
        self.head.weight = self.table.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits, (B, 5), of tokens (B, T)."""
        x = self.norm(self.table(tokens))
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = self.recurrence(x)[0].flip(1)
        x = self.batch_norm(self.convolution(x.transpose(1, 2))).relu()
        x = self.dropout(self.linear(x.mean(2)))
        return self.head(Doubled.apply(x, self.scale))


class Dyadic(nn.Module):
    """Linear layers and a convolution whose sums are exact in float64, in whatever order they are formed."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 4)
        self.convolution = nn.Conv1d(4, 2, 2, bias=False)
        self.linear = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)
        self.scale = nn.Parameter(torch.ones(4))
        self.double()
        for parameter in self.parameters():
            parameter.data = torch.randint(-2, 3, parameter.shape).double() / 2

    def forward(self, tokens: Tensor) -> Tensor:
        """Numbers, (B, 2), of tokens (B, 3)."""
        x = self.convolution(self.table(tokens).transpose(1, 2)).flatten(1)
        return self.head(Doubled.apply(self.linear(x.relu()), self.scale))


@dataclass
class Outcome:
    """What a loop ended with."""

    numbers: list[Tensor]
    rows: list[dict[str, Any]] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    run_status: str = ""

    def is_same_training(self, other: Outcome) -> bool:
        """Whether all numbers are the same, bit for bit."""
        return len(self.numbers) == len(other.numbers) and all(
            torch.equal(mine, its) for mine, its in zip(self.numbers, other.numbers, strict=True)
        )

    def numbers_recorded(self) -> list[tuple[Any, ...]]:
        """What the rows say of each measured step, and how sure they are of whose its rows are."""
        keys = ("batch_size", "fisher/trace", "fisher/cond", "gradient/norm", "fisher/grouping")
        return [tuple(row[key] for key in keys) for row in self.rows]

    def failures(self) -> list[str]:
        """Statuses of rows that are not ok."""
        return [row["status"] for row in self.rows if row["status"] != "ok"]


def numbers_of(model: nn.Module) -> list[Tensor]:
    """Everything that training has changed: parameters, gradients, buffers, random state."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return [
        *(t.detach().clone() for t in (*model.parameters(), *model.buffers(), *gradients)),
        torch.get_rng_state(),
    ]


def loss_of(model: nn.Module, tokens: Tensor) -> Tensor:
    """Mean loss of a batch."""
    out = model(tokens)
    if out.dtype == torch.float64:
        return (out * (tokens[:, :2] - 1)).sum() / len(tokens)
    return F.cross_entropy(out, tokens[:, 0])


def plain_loop(
    mode: str,
    monitored: bool,
    model_class: type[nn.Module] = Dyadic,
    during: Callable[[], AbstractContextManager[Any]] = nullcontext,
    steps: int = 2,
) -> Outcome:
    """Train a new model for some steps; every other one is measured where `monitored`, from the first.

    Args:
        mode: Of `MODES`.
        monitored: Whether there is a monitor.
        model_class: `Mixed`, or `Dyadic`, whose sums are exact (with `fused` any other differs by rounding).
        during: A context for the steps.
        steps: How many.
    """
    torch.manual_seed(0)
    model = model_class()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
    data = torch.randint(0, 5, (steps, 4, 3))
    monitor = fs.Monitor(model, optimizer, every=2, stride=True, **MODES[mode]) if monitored else None
    with warnings.catch_warnings(record=True) as caught, during():
        warnings.simplefilter("always")
        for tokens in data:
            optimizer.zero_grad()
            with nullcontext() if monitor is None else monitor.observe(ids=range(4)):
                if mode == "accumulate":
                    for part in tokens.split(2):
                        (loss_of(model, part) / 2).backward()
                else:
                    loss_of(model, tokens).backward()
            optimizer.step()
    assert_clean(model)
    warned = [str(w.message) for w in caught if issubclass(w.category, RuntimeWarning)]
    return Outcome(numbers_of(model), [] if monitor is None else monitor.state.history.rows, warned)


def assert_clean(model: nn.Module) -> None:
    """Nothing of ours is left: no hooks, no modes, torch's switches as they were."""
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())
    assert not any(p._backward_hooks for p in model.parameters())
    assert torch._C._len_torch_function_stack() == 0
    assert torch.is_grad_enabled()
    assert torch._C._is_torch_function_enabled()
    assert not torch.is_autocast_enabled("cpu")
    assert torch.autograd.Function.__dict__["apply"] is APPLY


APPLY = torch.autograd.Function.__dict__["apply"]
