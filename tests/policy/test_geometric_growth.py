"""Growth from batch to batch is geometric."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cases.policy_runs import parsed

from fisherscope.policy import (
    Observation,
)


@given(first=st.integers(1, 64), factor=st.floats(1.01, 3), samples=st.integers(100, 100_000))
@settings(deadline=None)
def test_growth_is_geometric_from_batch_to_batch(first, factor, samples):
    """B_{k+1} − γB_k is a difference of two rounding errors, each in [0, 1)."""
    policy = parsed(f"s{first}-growth:factor={factor!r}")
    state, done, sizes = policy.init(), 0, []
    while done + (sizes[-1] if sizes else 0) < samples / 2 and len(sizes) < 200:
        state, decision = policy.update(state, Observation(0, done, samples))
        sizes.append(decision.batch_size)
        done += decision.batch_size
    for size, after in pairwise(sizes):
        assert after == samples or -1 - 1e-9 * samples < after - factor * size < 1 + 1e-9 * samples


@pytest.mark.parametrize(
    "name", ["s32-growth:factor=1e308", "s32-growth:factor=99+growth-limit:factor=1e308"]
)
def test_factors_beyond_all_numbers_stop_at_the_data(name):
    policy = parsed(name)
    state, _ = policy.update(policy.init(), Observation(0, 0, 1000))
    for start in (32, 64):
        state, decision = policy.update(state, Observation(0, start, 1000))
    assert decision.batch_size == 1000
