"""The paper's stages, to the sample."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cases.policy_runs import SAMPLES, parsed

from fisherscope.policy import (
    Observation,
    Rate,
    Staged,
    stage_sizes,
)

PAPER_STAGES = {
    "s32-to-512": (32, 64, 128, 256, 512),
    "s512-to-32": (512, 256, 128, 64, 32),
    "s16-to-64": (16, 16, 32, 32, 64),
    "s32-to-128": (32, 32, 64, 64, 128),
    "s16-to-256": (16, 32, 64, 128, 256),
    "s64-to-256": (64, 64, 128, 128, 256),
    "s128-to-512": (128, 128, 256, 256, 512),
}


def by_epoch(name, epochs):
    """(size, rate) of the first batch of each epoch."""
    policy = parsed(name, epochs=epochs)
    state, found = policy.init(), []
    for epoch in range(epochs):
        state, decision = policy.update(state, Observation(epoch, 0, SAMPLES))
        found.append((decision.batch_size, decision.lr))
    return found


def repeated(pairs):
    return [value for value, times in pairs for _ in range(times)]


@pytest.mark.parametrize("name", PAPER_STAGES)
def test_stages_are_the_paper_s(name):
    assert parsed(name).sizes == PAPER_STAGES[name]


@pytest.mark.parametrize("name", PAPER_STAGES)
@pytest.mark.parametrize(
    ("epochs", "stage", "levels", "within"),
    [(320, 64, (160, 80, 80), (32, 16, 16)), (40, 8, (20, 10, 10), (4, 2, 2))],
)
def test_staged_runs_equal_the_paper(name, epochs, stage, levels, within):
    rates = repeated(zip((0.1, 0.01, 0.001), levels, strict=True))
    whole = repeated((size, stage) for size in PAPER_STAGES[name])
    again = repeated((size, length) for length in within for size in PAPER_STAGES[name])
    assert by_epoch(name, epochs) == list(zip(whole, rates, strict=True))
    assert by_epoch(f"{name}-∅", epochs) == list(zip(whole, rates, strict=True))
    assert by_epoch(f"{name}-0", epochs) == list(zip(whole, rates, strict=True))
    assert by_epoch(f"{name}-MS", epochs) == list(zip(again, rates, strict=True))
    assert by_epoch("s32", epochs) == [(32, rate) for rate in rates]
    assert by_epoch("s32-constant", epochs) == [(32, 0.1)] * epochs


@given(
    epochs=st.integers(1, 400),
    samples=st.integers(1, 5000),
    place=st.floats(0, 1, exclude_max=True),
    restart=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_uneven_lengths_are_divided_exactly(epochs, samples, place, restart):
    """Stage and level by their borders in samples, written out; five need not divide anything."""
    total = Fraction(epochs * samples)
    at = int(place * epochs * samples)
    levels = [(Fraction(0), total / 2), (total / 2, total * 3 / 4), (total * 3 / 4, total)]
    parts = levels if restart else [(Fraction(0), total)]
    borders = [
        (begin + (end - begin) * stage / 5, begin + (end - begin) * (stage + 1) / 5, stage)
        for begin, end in parts
        for stage in range(5)
    ]
    (stage,) = [stage for begin, end, stage in borders if begin <= at < end]
    (level,) = [level for level, (begin, end) in enumerate(levels) if begin <= at < end]
    policy = Staged(16, 256, Rate(0.1, epochs), restart)
    seen = Observation(at // samples, at % samples, samples)
    decision = policy.update(policy.init(), seen)[1]
    assert decision.batch_size == 16 * 2**stage
    assert decision.lr == (0.1, 0.01, 0.001)[level]


def test_a_staged_run_says_why_once_a_change():
    policy = parsed("s32-to-512-MS", epochs=40)
    state, reasons = policy.init(), []
    for epoch in range(40):
        for start in (0, 500):
            state, decision = policy.update(state, Observation(epoch, start, SAMPLES))
            reasons += [decision.reason] if decision.reason else []
    assert len(reasons) == 14
    assert reasons[4] == "stage 1 of 5, learning-rate level 2"


@pytest.mark.parametrize(
    ("first", "last", "sizes"),
    [
        (8, 8, (8,) * 5),
        (8, 16, (8, 8, 8, 8, 16)),
        (8, 64, (8, 8, 16, 32, 64)),
        (64, 16, (64, 32, 32, 16, 16)),
    ],
)
def test_inferred_stages(first, last, sizes):
    assert stage_sizes(first, last) == sizes
