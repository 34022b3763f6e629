"""Small models and steps, and the check that a measured step trains as an unmeasured one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.gram import GramError, GramRecord


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.2), nn.Linear(6, 3))


def samples(n: int = 5) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(n, 4), torch.randint(0, 3, (n,))


def step(model: nn.Module, x: Tensor, y: Tensor) -> None:
    F.cross_entropy(model(x), y).backward()


class Called(nn.Module):
    """A module whose forward is a function of (parts, input)."""

    def __init__(self, function: Callable[..., Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.parts, self.function = nn.ModuleDict(parts), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.parts, x)


def state_of(model: nn.Module) -> list[Tensor]:
    """All that training goes on from."""
    grads = [torch.zeros(()) if p.grad is None else p.grad for p in model.parameters()]
    return [
        *(p.detach().clone() for p in model.parameters()),
        *model.buffers(),
        *grads,
        torch.get_rng_state(),
    ]


def assert_alike(one: list[Tensor], other: list[Tensor]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@contextmanager
def trained_as_unmeasured(model: nn.Module, train: Callable[[nn.Module], object]) -> Iterator[None]:
    """Whatever is raised or recorded inside, the step is that of a twin that nobody measures."""
    twin = copy.deepcopy(model)
    torch.manual_seed(3)
    train(twin)
    wanted = state_of(twin)
    torch.manual_seed(3)
    yield
    assert_alike(state_of(model), wanted)
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())
    assert not any(p._backward_hooks for p in model.parameters())


def recorded(
    model: nn.Module, train: Callable[[nn.Module], object], strict: bool, kind: type[GramError], words: str,
    **options: Any,
) -> GramRecord | None:  # fmt: skip
    """Measured: raises `kind` where `strict`, else gives the record."""
    if strict:
        with pytest.raises(kind, match=words), fs.record_gram(model, **options):
            train(model)
        return None
    with fs.record_gram(model, strict=False, **options) as record:
        train(model)
    return record


def routed() -> nn.Module:
    def forward(parts: Any, x: Tensor) -> Tensor:
        chosen, out = parts["gate"](x).argmax(1), x.new_zeros(len(x), 3)
        for k, name in enumerate(("one", "two")):
            out[chosen == k] = parts[name](x[chosen == k])
        return out + parts["gate"](x).sum(1, keepdim=True)

    return Called(forward, gate=nn.Linear(4, 2), one=nn.Linear(4, 3), two=nn.Linear(4, 3))
