"""Learning rates that follow the batch size."""

import math

import numpy as np
import pytest
from tests.cases.policy_runs import COLUMNS, SAMPLES, Script, row_of
from tests.oracles import batch_sizes as oracle

from fisherscope.policy import (
    WRAPPERS,
    AdaScale,
    Observation,
)


def test_couplings():
    script = Script(32, 64, 16)
    for family, gains in (("linear", (1, 2, 0.5)), ("sqrt", (1, math.sqrt(2), math.sqrt(0.5)))):
        for reference, shift in ((None, 1), (16, 2)):
            policy = WRAPPERS[family](script, reference)
            state, rates = policy.init(), []
            for _ in range(3):
                state, decision = policy.update(state, Observation(0, 0, SAMPLES))
                rates.append(decision.lr)
            scale = shift if family == "linear" else math.sqrt(shift)
            assert rates == pytest.approx([0.1 * gain * scale for gain in gains], rel=1e-15)


@pytest.mark.parametrize("columns", COLUMNS, ids=lambda columns: f"n{columns.shape[1]}")
def test_adascale_is_the_published_gain(columns):
    policy = AdaScale(Script(32, 32, 128))
    state = policy.init()
    for row in (None, row_of(columns), None):
        state, decision = policy.update(state, Observation(0, 0, SAMPLES, row))
    noise, square = oracle.covariance_trace(columns) / 32, max(oracle.signal(columns), 0)
    wanted = (noise + square) / (noise / 4 + square)
    assert decision.lr == pytest.approx(0.1 * wanted, rel=1e-12)
    assert 0.1 <= decision.lr <= 0.4 * (1 + 1e-12)


def test_adascale_limits():
    same = row_of(np.ones((3, 8)))
    noise = row_of(np.kron(np.eye(4), [[1.0, -1.0]]))
    for row, gain in ((same, 1), (noise, 4)):
        policy = AdaScale(Script(32, 128))
        state, _ = policy.update(policy.init(), Observation(0, 0, SAMPLES))
        assert policy.update(state, Observation(0, 32, SAMPLES, row))[1].lr == pytest.approx(0.1 * gain)
