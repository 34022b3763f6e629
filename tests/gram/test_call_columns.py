"""A rule that fails leaves the step as it is."""

from __future__ import annotations

import pytest
from tests.cases.gram_steps import (
    mlp,
    recorded,
    samples,
    step,
    trained_as_unmeasured,
)

from fisherscope.gram import GramError


def test_whatever_fails_in_a_rule_the_step_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from fisherscope.gram.rules import affine

    def broken(*_: object) -> None:
        raise IndexError("off by one")

    monkeypatch.setattr(affine, "positions", broken)
    x, y = samples()
    for fused in (False, True):
        model = mlp()
        with trained_as_unmeasured(model, lambda m: step(m, x, y)):
            record = recorded(model, lambda m: step(m, x, y), False, GramError, "", fused=fused)
        assert record is not None
        assert any("IndexError: off by one" in note for note in record.notes)
