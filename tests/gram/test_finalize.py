"""Records of steps that are zero, not finite, without backward, or on a changed model."""

from __future__ import annotations

import pytest
import torch
from tests.cases.gram_steps import (
    assert_alike,
    mlp,
    recorded,
    samples,
    state_of,
    step,
    trained_as_unmeasured,
)
from torch import nn
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.gram import GramError


def test_a_loss_that_is_no_number() -> None:
    x, y = samples()
    model = mlp()
    before = state_of(model)[: len(list(model.parameters()))]
    with (
        pytest.raises(RuntimeError, match="only for scalar outputs"),  # torch's own
        fs.record_gram(model),
    ):
        F.cross_entropy(model(x), y, reduction="none").backward()
    assert all(p.grad is None for p in model.parameters())
    assert_alike(before, [p.detach() for p in model.parameters()])


@pytest.mark.parametrize("strict", [True, False])
def test_backward_not_called(strict: bool) -> None:
    x, _ = samples()
    model = mlp()
    with trained_as_unmeasured(model, lambda m: m(x)):
        record = recorded(model, lambda m: m(x), strict, GramError, "call loss.backward\\(\\) there")
    assert record is None or "no backward pass ran" in record.status


def test_all_gradients_zero() -> None:
    x, _ = samples()
    model = mlp()
    with trained_as_unmeasured(model, lambda m: (m(x) * 0).sum().backward()), fs.record_gram(model) as record:
        (model(x) * 0).sum().backward()
    assert record.status.startswith("zero")
    assert not record.gram.any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("strict", [True, False])
def test_a_loss_that_is_not_finite(bad: float, strict: bool) -> None:
    x, y = samples()
    x[2, 1] = bad
    model = mlp()
    torch.manual_seed(3)
    with fs.record_gram(model, strict=strict) as record:
        step(model, x, y)
    assert record.status.startswith("non-finite")
    assert not any(p._backward_hooks for p in model.parameters())


def test_a_model_that_changes_meanwhile_is_noted() -> None:
    x, y = samples()
    model = mlp()
    with fs.record_gram(model) as record:
        step(model, x, y)
        model.double()
    assert any("moved or converted" in note for note in record.notes)
    model = mlp()
    with fs.record_gram(model) as record:
        step(model, x, y)
        model[0] = nn.Linear(4, 6)
    assert any("replaced" in note for note in record.notes)
