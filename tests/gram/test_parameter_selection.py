"""Parameters that can't be measured, or are not chosen."""

from __future__ import annotations

import pytest
import torch
from tests.cases.gram_steps import (
    mlp,
    recorded,
    samples,
    step,
)
from torch import nn

import fisherscope as fs
from fisherscope.gram import GramError, NotSplittableError


def test_a_model_without_trainable_parameters() -> None:
    model = mlp().requires_grad_(False)
    with pytest.raises(GramError, match=r"no trainable parameter.*requires_grad=True"):
        fs.record_gram(model)


def test_a_choice_that_chooses_nothing() -> None:
    with pytest.raises(GramError, match=r"chooses none of the 6 trainable parameters \(0.weight"):
        fs.record_gram(mlp(), parameters="head.*")


@pytest.mark.parametrize("strict", [True, False])
def test_scripted_modules(strict: bool) -> None:
    x, y = samples()
    model = nn.Sequential(
        nn.Linear(4, 6), torch.jit.trace(nn.Linear(6, 6), torch.randn(2, 6)), nn.Linear(6, 3)
    )
    train = lambda m: step(m, x, y)  # noqa: E731
    record = recorded(model, train, strict, NotSplittableError, "scripted module '1'")
    if record is not None:
        assert record.status.startswith("partial")
    assert all(p.grad is not None for p in model.parameters())


def test_a_compiled_model_is_measured_eagerly_and_says_so() -> None:
    x, y = samples()
    model = mlp()
    model.compile()
    with fs.record_gram(model) as record:
        step(model, x, y)
    assert record.status == "ok"
    assert any("ran eagerly" in note for note in record.notes)
