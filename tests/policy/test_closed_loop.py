"""Policies that read measurements, against the dense oracles."""

import math

import numpy as np
import pytest
from tests.cases.policy_runs import COLUMNS, parsed, row_of
from tests.oracles import batch_sizes as oracle

from fisherscope.policy import (
    Observation,
)


def decide(name, *measured):
    """The decision after these rows."""
    policy = parsed(name)
    state = policy.init()
    for row in measured:
        state, decision = policy.update(state, Observation(0, 0, 10**9, row))
    return decision


@pytest.mark.parametrize("columns", COLUMNS, ids=lambda columns: f"n{columns.shape[1]}")
class TestAgainstOracles:
    def test_norm_test(self, columns):
        wanted = oracle.norm_test_size(columns, 0.4)
        assert decide("s8-norm-test:theta=0.4", row_of(columns)).batch_size == max(8, wanted)

    def test_inner_product(self, columns):
        for theta, nu in ((0.9, 5.84), (0.3, 0.2)):
            wanted = oracle.inner_product_size(columns, theta, nu)
            found = decide(f"s8-inner-product:theta={theta},nu={nu}", row_of(columns)).batch_size
            assert found == max(8, wanted)

    def test_big_batch(self, columns):
        n = columns.shape[1]
        found = decide(f"s{n}-big-batch", row_of(columns)).batch_size
        assert found == (n if oracle.big_batch_passes(columns, 1.0) else math.ceil(1.1 * n))

    def test_cabs(self, columns):
        wanted = oracle.cabs_size(columns, lr=0.1, loss=0.7)
        row = row_of(columns, loss=0.7)
        assert decide("s8-cabs:least=2", row).batch_size == max(2, wanted)
        assert decide("s8-cabs:most=40", row).batch_size == min(max(16, wanted), 40)

    def test_noise_scale(self, columns):
        wanted = oracle.noise_scale(columns)
        found = decide("s8-noise-scale:factor=0.5", row_of(columns)).batch_size
        assert found == (max(2, math.ceil(0.5 * wanted)) if wanted > 0 else 8)

    def test_diversity(self, columns):
        wanted = oracle.diversity_size(columns, 0.5)
        found = decide("s8-diversity:delta=0.5", row_of(columns)).batch_size
        assert found == (max(2, wanted) if oracle.signal(columns) > 0 else 8)


def test_the_oracle_cases_cover_both_outcomes():
    assert {oracle.big_batch_passes(columns, 1.0) for columns in COLUMNS} == {True, False}
    assert {oracle.signal(columns) > 0 for columns in COLUMNS} == {True, False}


def test_smoothing_comes_before_the_ratio():
    first, second = row_of(COLUMNS[2] * 5), row_of(COLUMNS[4])
    memory = 0.5
    weights = np.array([memory, 1.0]) / (memory + 1)
    variance = weights @ [first["noise/variance"], second["noise/variance"]]
    signal = weights @ [first["noise/signal"], second["noise/signal"]]
    found = decide(f"s8-noise-scale:memory={memory}", first, second).batch_size
    assert found == max(2, math.ceil(variance / signal))
    mean_of_ratios = weights @ [first["noise/scale"], second["noise/scale"]]
    assert found != math.ceil(mean_of_ratios)


@pytest.mark.parametrize("family", ["norm-test", "inner-product", "cabs", "noise-scale", "diversity"])
def test_smoothing_leaves_a_repeated_row_as_it_is(family):
    more = ",least=2" if family == "cabs" else ""
    for columns in COLUMNS:
        row = row_of(columns)
        once, often = (decide(f"s2-{family}:memory=0.7{more}", *[row] * count).batch_size for count in (1, 9))
        assert abs(once - often) <= 1  # rounding before the ceiling


def test_zero_gradients_keep_the_size_and_say_so():
    zeros = row_of(np.zeros((3, 8)), loss=0.0)
    for family in ("norm-test", "inner-product", "big-batch", "cabs", "noise-scale", "diversity"):
        decision = decide(f"s8-{family}", zeros)
        assert decision.batch_size == 8
        assert decision.reason.startswith(f"{family}: kept 8, ")


def test_a_row_without_the_keys_is_an_error():
    with pytest.raises(ValueError, match=r"no 'noise/variance'.*sampler\.step"):
        decide("s8-norm-test", {"batch_size": 8, "train/loss": 1.0})


def test_sizes_stop_at_the_data():
    policy = parsed("s8-norm-test:theta=0.001")
    assert policy.update(policy.init(), Observation(0, 0, 300, row_of(COLUMNS[3])))[1].batch_size == 300


def test_a_decision_explains_itself():
    reason = decide("s8-norm-test:theta=0.4+bounds:max=64", row_of(COLUMNS[3])).reason
    assert reason.startswith("norm-test: 8 to ")
    assert reason.endswith("; 64 by bounds")
