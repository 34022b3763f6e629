"""A record before its end."""

from __future__ import annotations

import pytest
from tests.cases.gram_steps import (
    mlp,
    samples,
    step,
)

import fisherscope as fs
from fisherscope.gram import GramError, IncompleteError


def test_losses_wait_for_their_own_backward_and_a_record_for_its_block() -> None:
    x, y = samples()
    model = mlp()
    with (
        pytest.raises(IncompleteError, match=r"call record\.backward"),
        fs.record_gram(model, semantics="per_loss"),
    ):
        step(model, x, y)
    with fs.record_gram(model) as record:
        with pytest.raises(GramError, match="has not ended"):
            _ = record.gram
        step(model, x, y)
    with pytest.raises(ValueError, match=r"call spectrum\(record.gram"):
        fs.spectrum(record)
