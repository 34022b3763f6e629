"""Statistics against naive formulas, and against the p-values that the paper printed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from tests.oracles import statistics as oracle

from fisherscope.analysis.stats import hypothesis_tests
from fisherscope.analysis.stats.hypothesis_tests import Sample, student, welch


@pytest.mark.parametrize("draw", range(6))
def test_two_samples_against_the_formulas(draw: int) -> None:
    numbers = np.random.default_rng(draw)
    a, b = numbers.normal(size=3 + draw), numbers.normal(0.7, 2, size=5)
    assert welch(Sample.of(a), Sample.of(b)).p == pytest.approx(
        oracle.welch(a.tolist(), b.tolist()), rel=1e-6
    )
    assert student(Sample.of(a), Sample.of(b)).p == pytest.approx(
        oracle.student(a.tolist(), b.tolist()), rel=1e-6
    )


@pytest.mark.parametrize("draw", range(4))
def test_ranks_against_loops(draw: int) -> None:
    numbers = np.random.default_rng(draw)
    a, b = numbers.integers(0, 6, 12).astype(float), numbers.integers(0, 6, 12).astype(float)
    assert hypothesis_tests.kendall(a, b) == pytest.approx(oracle.kendall(a.tolist(), b.tolist()), abs=1e-12)
    assert hypothesis_tests.spearman(a, b) == pytest.approx(
        oracle.spearman(a.tolist(), b.tolist()), abs=1e-12
    )
    positive = b > 2
    assert hypothesis_tests.auc(a, positive) == pytest.approx(
        oracle.auc(a.tolist(), positive.tolist()), abs=1e-12
    )
    p = numbers.random(7)
    np.testing.assert_allclose(hypothesis_tests.holm(list(p)), oracle.holm(list(p)), rtol=1e-12)


def test_holm_leaves_what_is_unknown_out() -> None:
    assert hypothesis_tests.holm([0.04, math.nan, 0.01])[::2] == pytest.approx([0.04, 0.02])


PRINTED = [  # (mean, std) twice, test, n, p: docs/paper.md, those whose recipe it names
    ((5.07, 0.21), (5.56, 0.09), welch, 5, 0.0040, 0.0037),
    ((4.96, 0.12), (5.03, 0.03), student, 3, 0.383, 0.38),
    ((4.96, 0.12), (4.63, 0.10), student, 3, 0.0216, 0.022),
    ((5.03, 0.03), (4.63, 0.10), student, 3, 0.0027, 0.0029),
]


@pytest.mark.parametrize(("a", "b", "test", "n", "recomputed", "printed"), PRINTED)
def test_the_papers_p_values(a, b, test, n, recomputed, printed) -> None:
    p = test(Sample(*a, n), Sample(*b, n)).p
    assert p == pytest.approx(recomputed, rel=0.02)
    assert p == pytest.approx(printed, rel=0.1)


def test_equivalence_needs_evidence() -> None:
    """Nothing found at n = 5 is not equality; equality within a margin is found where the spread is small."""
    near, far = Sample(5.0, 0.01, 5), Sample(5.05, 0.01, 5)
    wide = Sample(5.05, 1.0, 5)
    assert welch(near, far).p < 0.05
    assert welch(near, far).p_equivalent(0.2) < 1e-6
    assert welch(near, wide).p > 0.5
    assert welch(near, wide).p_equivalent(0.2) > 0.2
    assert welch(far, near).upper() < 0.2 < welch(wide, near).upper()


def test_equivalence_holds_its_level() -> None:
    """On the margin itself, 5 % of the tests declare equivalence, at most (400 draws, 3 standard errors)."""
    numbers = np.random.default_rng(3)
    found = 0
    for _ in range(400):
        a, b = numbers.normal(0.3, 0.2, 6), numbers.normal(0.0, 0.2, 6)
        found += welch(Sample.of(a), Sample.of(b)).p_equivalent(0.3) < 0.05
    assert found / 400 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)
    assert found > 0


def test_effect_size_and_interval() -> None:
    a, b = Sample(1.0, 1.0, 10), Sample(0.0, 1.0, 10)
    found = student(a, b)
    assert found.hedges_g == pytest.approx(1.0 * (1 - 3 / (4 * 18 - 1)))
    assert found.low == pytest.approx(1 - 2.10092 * math.sqrt(0.2), abs=1e-5)  # t at 0.975, 18 degrees


def test_one_value_is_no_sample() -> None:
    with pytest.raises(ValueError, match="n = 1"):
        welch(Sample.of([1.0]), Sample.of([1.0, 2.0]))


def test_residuals_know_nothing_of_what_was_removed() -> None:
    numbers = np.random.default_rng(0)
    on = numbers.normal(size=(20, 2))
    values = on @ np.array([2.0, -1.0]) + 3
    np.testing.assert_array_equal(hypothesis_tests.residuals(values, on), np.zeros(20))
    left = hypothesis_tests.residuals(values + numbers.normal(size=20), on)
    np.testing.assert_allclose(np.column_stack([on, np.ones(20)]).T @ left, 0, atol=1e-12)


def test_intraclass_correlation_of_pure_groups_and_pure_noise() -> None:
    numbers = np.random.default_rng(0)
    groups = numbers.normal(size=(200, 1)) + np.zeros((1, 4))
    assert hypothesis_tests.intraclass(groups) == pytest.approx(1.0)
    assert abs(hypothesis_tests.intraclass(numbers.normal(size=(200, 4)))) < 3 / math.sqrt(200 * 6)
    assert hypothesis_tests.intraclass(groups + numbers.normal(size=(200, 4))) == pytest.approx(0.5, abs=0.15)


def test_permutation_p_counts_the_observed_one() -> None:
    assert hypothesis_tests.permutation_p(5.0, [1.0, 2.0, 3.0]) == 1 / 4
    assert hypothesis_tests.permutation_p(2.0, [1.0, 2.0, 3.0]) == 3 / 4
    assert math.isnan(hypothesis_tests.permutation_p(math.nan, [1.0]))


def test_intervals_and_sign_tests_are_scipy_s() -> None:
    """Wilson's interval is written out because scipy takes whole counts only; at whole counts they agree."""
    for count in (0, 1, 17, 250, 500):
        ours = hypothesis_tests.share_interval(count / 500, 500)
        expected = stats.binomtest(count, 500).proportion_ci(0.8, "wilson")
        assert ours == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert hypothesis_tests.sign_p(6, 8) == pytest.approx(37 / 256)
    assert math.isnan(hypothesis_tests.sign_p(0, 0))


def test_no_spread_decides_by_the_distance() -> None:
    a, b = Sample(1.0, 0.0, 3), Sample(2.0, 0.0, 3)
    assert welch(a, b).p == student(a, b).p == 0.0
    assert welch(a, a).p == student(a, a).p == hypothesis_tests.paired_difference([0.0, 0.0]).p == 1.0
    assert hypothesis_tests.paired_difference([1.0, 2.0, math.nan]).p == pytest.approx(
        stats.ttest_1samp([1.0, 2.0], 0).pvalue
    )
