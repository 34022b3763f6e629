"""Findings of a recorded run: each planted ending, metric and cost is found, worst first."""

import pytest
from tests.diagnosis.test_step_findings import GOOD

from fisherscope.diagnosis.finding import SEVERITIES
from fisherscope.diagnosis.run_findings import run_findings

HEAD = {"status": "finished", "reason": "", "config": {}}
VERIFIED = GOOD | {"fisher/grouping": "verified"}
FALLING = [
    {"epoch": k, "val/loss": 1 / k, "train/loss": 1 / k, "time/train_s": 1.0, "time/fisher_s": 0.01}
    for k in range(1, 9)
]
STEPS = [VERIFIED] * 12


def names(head=HEAD, steps=STEPS, epochs=FALLING, spikes=()) -> list[str]:
    return [finding.name for finding in run_findings(head, steps, epochs, spikes)]


def test_a_run_that_is_well_has_no_findings() -> None:
    assert names() == []


@pytest.mark.parametrize(
    ("status", "name"), [("diverged", "diverged"), ("failed", "failed"), ("interrupted", "interrupted")]
)
def test_an_ending_is_found_with_its_reason(status: str, name: str) -> None:
    (finding,) = run_findings(HEAD | {"status": status, "reason": "the loss is nan."}, STEPS, FALLING)
    assert finding.name == name
    assert "the loss is nan." in finding.text
    assert "nan.." not in finding.text


def test_overfitting_is_found_where_it_is() -> None:
    rising = [row | {"val/loss": loss} for row, loss in zip(FALLING, (8, 4, 2, 3, 4, 5, 6, 7), strict=True)]
    (finding,) = run_findings(HEAD, STEPS, rising)
    assert finding.evidence == {"best_epoch": 3, "best": 2, "last_epoch": 8, "last": 7}
    assert names(epochs=[*FALLING[:-1], FALLING[-1] | {"val/loss": 1.0}]) == []  # a single bad epoch
    assert names(epochs=[row | {"val/loss": None} for row in FALLING]) == []


def test_measurements_are_judged() -> None:
    assert names(steps=[]) == ["nothing-measured"]
    assert names(HEAD | {"config": {"measure": False}}, steps=[]) == []
    assert names(steps=[GOOD] * 12) == ["unverified-rows"]
    assert names(steps=[*STEPS, VERIFIED | {"fisher/note": "two readings"}]) == ["noted"]
    assert names(spikes=[{"step": 4}, {"step": 9}]) == ["spikes"]


def test_a_batch_far_below_the_noise_scale_is_a_hint() -> None:
    small = VERIFIED | {"batch_size": 4, "fisher/rank": 4, "gradient/largest_share": 0.3}
    assert names(steps=[small] * 10) == ["batch-too-small"]  # 40 samples
    assert names(steps=[small] * 9) == []  # too few to say


def test_costly_measuring_is_a_hint() -> None:
    costly = [row | {"time/fisher_s": 0.2} for row in FALLING]
    (finding,) = run_findings(HEAD, STEPS, costly)
    assert finding.name == "costly-measuring"
    assert finding.evidence["share"] == pytest.approx(0.2)


def test_a_dead_network_is_an_error() -> None:
    dead = [row | {"train/loss": 2.3, "val/loss": 2.3, "val/error": 0.9} for row in FALLING]
    assert names(epochs=dead) == ["dead-network"]


def test_the_worst_comes_first() -> None:
    costly = [row | {"time/fisher_s": 0.2} for row in FALLING]
    findings = run_findings(HEAD | {"status": "diverged"}, [GOOD] * 12, costly, [{"step": 1}])
    places = [SEVERITIES.index(finding.severity) for finding in findings]
    assert places == sorted(places)
    assert len(set(places)) == 3
