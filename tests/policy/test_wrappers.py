"""Bounds, multiples, hysteresis, growth limits."""

from tests.cases.policy_runs import SAMPLES, Script

from fisherscope.policy import (
    WRAPPERS,
    Hysteresis,
    Observation,
)


def sizes_of(policy, starts, samples=SAMPLES):
    state, found = policy.init(), []
    for at in starts:
        state, decision = policy.update(state, Observation(at // samples, at % samples, samples))
        found.append(decision.batch_size)
    return found


def test_bounds():
    assert sizes_of(WRAPPERS["bounds"](Script(1, 8, 50, 600), 8, 512), range(4)) == [8, 8, 50, 512]
    assert sizes_of(WRAPPERS["bounds"](Script(1, 600), 8), range(2)) == [8, 600]


def test_multiples_are_the_nearest_within_the_data():
    assert sizes_of(WRAPPERS["multiple"](Script(1, 4, 11, 12, 20, 1000), 8), range(6)) == [
        8,
        8,
        8,
        16,
        24,
        1000,
    ]
    assert sizes_of(WRAPPERS["multiple"](Script(300), 64), range(1), samples=300) == [256]


def test_hysteresis_holds_small_changes():
    wrapped = Hysteresis(Script(100, 124, 125, 101, 100, 99), ratio=1.25)
    assert sizes_of(wrapped, range(6)) == [100, 100, 125, 125, 100, 100]


def test_growth_limit_by_interval():
    wrapped = WRAPPERS["growth-limit"](Script(32, 512, 512, 512, 512, 8, 8), factor=2.0, epochs=0.5)
    starts = [0, 100, 499, 500, 1000, 1500, 2000]
    assert sizes_of(wrapped, starts) == [32, 64, 64, 128, 256, 128, 64]
