"""Several backward passes, and the memory budget."""

from __future__ import annotations

import pytest
from tests.cases.gram_steps import (
    mlp,
    recorded,
    samples,
    step,
    trained_as_unmeasured,
)
from torch import nn

import fisherscope as fs
from fisherscope.gram import GramError, IncompleteError


def test_a_second_backward_unannounced() -> None:
    x, y = samples()
    model = mlp().eval()

    def twice(m: nn.Module) -> None:
        step(m, x, y)
        step(m, x, y)

    with trained_as_unmeasured(model, twice):
        recorded(model, twice, True, IncompleteError, "accumulate=True")


def test_columns_kept_between_passes_obey_the_budget() -> None:
    x, y = samples()
    model = mlp().eval()
    with (
        pytest.raises(GramError, match="over memory_budget=64"),
        fs.record_gram(model, accumulate=True, memory_budget=64),
    ):
        step(model, x, y)
