"""A torch that was not tried is compared with a loop first; what fails is refused and trains on."""

from __future__ import annotations

import warnings

import pytest
import torch
from tests.cases.guarded_loops import plain_loop
from torch import nn

import fisherscope as fs
from fisherscope.gram import torch_check

TRIED = "torch .* is newer than those that were tried"


@pytest.fixture
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take this torch for one that nobody tried."""
    monkeypatch.setattr(torch_check, "NEWEST_TRIED", "2.0")
    monkeypatch.setattr(torch_check, "_verdicts", {})


def measure() -> fs.GramRecord:
    model = nn.Linear(3, 2)
    with fs.record_gram(model, strict=True) as record:
        model(torch.ones(4, 3)).square().mean(1).mean().backward()
    return record


@pytest.mark.usefixtures("untried")
def test_a_torch_that_agrees_is_said_in_one_line_and_used() -> None:
    with pytest.warns(RuntimeWarning, match=f"{TRIED}.*they agree") as caught:
        records = [measure(), measure()]
    assert len(caught) == 1
    assert all(record.measured for record in records)


@pytest.mark.usefixtures("untried")
def test_the_check_draws_no_random_number() -> None:
    model = nn.Linear(3, 2)
    state = torch.get_rng_state()
    with pytest.warns(RuntimeWarning, match="they agree"):
        torch_check.refuse_failing_torch(fs.record_gram)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.weight.grad is None


@pytest.mark.usefixtures("untried")
@pytest.mark.parametrize("how", ["other numbers", "an error"])
def test_a_torch_that_fails_is_refused_and_trained_on(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unmonitored = plain_loop("neutral", False, steps=5)

    def wrong(*_: object) -> torch.Tensor:
        if how == "an error":
            raise AttributeError("no such name in this torch")
        return torch.ones(87, dtype=torch.float64)

    monkeypatch.setattr(torch_check, "_flat_gradient", wrong)
    outcome = plain_loop("neutral", True, steps=5)
    assert outcome.is_same_training(unmonitored)
    statuses = {row["status"] for row in outcome.rows}
    assert len(outcome.rows) == 3
    assert len(statuses) == 1
    assert statuses.pop().startswith("UntriedTorchError: torch ")
    assert len(outcome.warned) == 1
    assert "Install a newer fisherscope" in outcome.warned[0]
    with pytest.raises(
        torch_check.UntriedTorchError, match=rf"{TRIED}.*nothing is measured, training goes on"
    ):
        measure()


def test_a_torch_that_was_tried_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_check, "_verdicts", {})
    monkeypatch.setattr(torch_check, "_judge", lambda *_: "checked")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert measure().measured


def test_versions_are_compared_by_number() -> None:
    versions = ("2.9.1", "2.11.0+cu130", "2.14.0a0+git1", "3.0")
    assert [torch_check._release(v) for v in versions] == [(2, 9), (2, 11), (2, 14), (3, 0)]
