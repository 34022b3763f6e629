"""Batch dimensions that are ambiguous or absent."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.cases.gram_steps import (
    mlp,
    samples,
    step,
)
from torch import nn

import fisherscope as fs
from fisherscope.gram import AmbiguousBatchError


def test_an_ambiguous_batch_dimension() -> None:
    model, x = nn.Linear(4, 4), torch.randn(5, 5, 4)
    with pytest.raises(AmbiguousBatchError, match=r"dimensions 0 and 1 both.*batch=0"), fs.record_gram(model):
        model(x).square().mean().backward()
    with fs.record_gram(model, batch=1) as record:
        model(x).square().mean().backward()
    assert record.batch_size == 5


@pytest.mark.parametrize(
    ("options", "size", "words"),
    [
        ({}, 0, "the batch is empty"),
        ({"batch": 7}, 5, "no input has the dimension that was given"),
        ({"batch": {"input": 0}}, 5, "have no samples.*Its inputs are 0"),
    ],
    ids=["empty", "no such dimension", "no such input"],
)
def test_a_batch_that_is_not_there(options: dict[str, Any], size: int, words: str) -> None:
    x, y = samples()
    model = mlp()
    with pytest.raises(AmbiguousBatchError, match=words), fs.record_gram(model, **options):
        step(model, x[:size], y[:size])
