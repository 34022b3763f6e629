"""Findings of measured steps: each planted fault is found, alone, and says its figures."""

import random

import pytest

from fisherscope.diagnosis.step_findings import RECENT_ROWS, recent_noise_scale, step_findings

GOOD = {
    "step": 3, "batch_size": 32, "status": "ok", "fisher/trace": 10.0, "fisher/rank": 32,
    "gradient/zero_share": 0.0, "gradient/largest_share": 0.05, "fisher/censored_share": 0.0,
    "noise/variance": 320.0, "noise/signal": 8.0,
}  # fmt: skip
FAULTS = {
    "batch-too-large": {"noise/variance": 8.0},
    "lost-rank": {"fisher/rank": 30},
    "dominant-sample": {"gradient/largest_share": 0.4},
    "samples-without-gradient": {"gradient/zero_share": 0.25, "fisher/rank": 24},
    "censored": {"fisher/censored_share": 0.3},
    "failed-measurements": {"fisher/trace": None, "status": "incomplete: fc.weight"},
    "non-finite-gradients": {"fisher/trace": None, "status": "non-finite: fc.weight"},
}


@pytest.mark.parametrize("seed", range(30))
def test_planted_faults_are_found_and_no_others(seed: int) -> None:
    draw = random.Random(seed)
    planted = set(draw.sample(sorted(FAULTS), draw.randint(0, 3)))
    if planted & {"failed-measurements", "non-finite-gradients"}:
        planted = {"non-finite-gradients" if "non-finite-gradients" in planted else "failed-measurements"}
    row = dict(GOOD)
    for name in planted:
        row |= FAULTS[name]
    if {"samples-without-gradient", "lost-rank"} <= planted:
        row["fisher/rank"] = 20
    rows = [GOOD] * draw.randint(0, 30) + [row] * RECENT_ROWS
    found = {finding.name: finding for finding in step_findings(rows)}
    assert set(found) == planted
    if "dominant-sample" in planted:
        assert found["dominant-sample"].evidence == {"step": 3, "share": 0.4, "batch_size": 32}
    if "batch-too-large" in planted:
        assert found["batch-too-large"].evidence == {"batch_size": 32, "noise_scale": 1.0}
    assert all(finding.sentence in str(finding) for finding in found.values())


def test_old_faults_are_not_reported() -> None:
    assert step_findings([GOOD | FAULTS["lost-rank"]] + [GOOD] * RECENT_ROWS) == []
    assert step_findings([]) == []


def test_rows_of_older_versions_have_fewer_keys() -> None:
    assert step_findings([{"step": 1, "batch_size": 4, "fisher/trace": 2.0}]) == []
    assert step_findings([{"step": 1, "loss": 2.0}]) == []  # a row of the user's own


def test_the_noise_scale_is_a_ratio_of_means() -> None:
    rows = [{"noise/variance": 9.0, "noise/signal": 3.0}, {"noise/variance": 11.0, "noise/signal": -1.0}]
    assert recent_noise_scale(rows) == 10.0
    assert recent_noise_scale([{"noise/variance": 9.0, "noise/signal": -3.0}]) is None
