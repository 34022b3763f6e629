"""Claims 7 and 10 under both means of C̄: the committed figures are those of the committed sweeps."""

import json

import pytest
from experiments.study.epoch_means import BY_EPOCHS, COND, OUT, figures_of

ROWS = json.loads(OUT.read_text())["rows"]


def test_the_committed_figures_are_computed_again() -> None:
    expected = [row for row in ROWS if (row["sweep"], row["measure"]) == ("mnist-mlp", BY_EPOCHS)]
    found = figures_of("mnist-mlp", BY_EPOCHS)
    assert len(found) == len(expected) >= 4
    for row, other in zip(found, expected, strict=True):
        assert row["figure"] == other["figure"]
        assert row["verdict"] == other["verdict"]
        assert row["estimate"] == pytest.approx(other["estimate"], rel=1e-3)


def test_no_verdict_depends_on_the_mean() -> None:
    verdicts = {
        x: [(row["sweep"], row["claim"], row["verdict"]) for row in ROWS if row["measure"] == x]
        for x in (COND, BY_EPOCHS)
    }
    assert verdicts[COND] == verdicts[BY_EPOCHS]
