"""Which eigenvalues count as non-zero."""

import math

import numpy as np
import pytest

from fisherscope import measures

EIGENVALUES = np.array([100.0, 4.0, 1.0, 1e-3, 1e-12, 0.0, -1e-13])


@pytest.mark.parametrize(
    ("rule", "floor", "kept", "censored"),
    [
        ("floor", 1e-10, 4, True),
        ("floor", 0.0, 5, True),
        ("exact", 1e-10, 5, False),
        ("relative:0.1", 1e-10, 2, False),
        ("relative", 1e-10, 4, False),
        ("relative:1e-8", 1e-10, 4, True),
        ("relative:0.1", 2.0, 2, False),
        ("energy:0.95", 1e-10, 1, False),
        ("energy:0.99", 1e-10, 2, False),
        ("energy:1", 1e-10, 4, True),
    ],
)
def test_rules_keep_what_they_say(rule, floor, kept, censored):
    shuffled = EIGENVALUES[[3, 0, 6, 2, 5, 1, 4]]
    left = measures.nonzero(shuffled, rule, floor)
    assert sorted(left) == sorted(EIGENVALUES[:kept])
    assert measures.censored(shuffled, rule, floor) is censored
    assert measures.cond(shuffled, rule, floor) == pytest.approx(math.sqrt(100 / EIGENVALUES[kept - 1]))


def test_the_energy_share_is_reached_and_no_eigenvalue_too_many_is_kept():
    kept = measures.nonzero(EIGENVALUES, "energy:0.96")
    total = EIGENVALUES.clip(0).sum()
    assert kept.sum() >= 0.96 * total
    assert kept[:-1].sum() < 0.96 * total


@pytest.mark.parametrize("rule", ["flor", "floor:3", "relative:x", "energy:1.5", "relative:0"])
def test_a_rule_that_is_none_is_refused(rule):
    with pytest.raises(ValueError, match="choosing a non-zero rule"):
        measures.nonzero(EIGENVALUES, rule)


@pytest.mark.parametrize("rule", measures.RULES)
def test_an_all_zero_spectrum_has_no_condition_number(rule):
    assert math.isnan(measures.cond(np.zeros(3), rule))
    assert math.isnan(measures.effective_rank(np.zeros(3)))
