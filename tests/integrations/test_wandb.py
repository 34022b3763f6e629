"""Weights & Biases without a run."""

from __future__ import annotations

import pytest

from fisherscope import integrations


def test_wandb_without_a_run_says_what_to_call() -> None:
    with pytest.raises(RuntimeError, match=r"wandb\.init"):
        integrations.WandbTracker()
