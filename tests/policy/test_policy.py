"""Policies: one contract for all, the paper's schedules to the sample, published tests against oracles."""

import copy
import dataclasses
import json
import math
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracles import batch_sizes as oracle

from fisherscope.measures import instruments
from fisherscope.policy import (
    FAMILIES,
    WRAPPERS,
    AdaScale,
    BeaconPolicy,
    Decision,
    Fixed,
    Hysteresis,
    Observation,
    Policy,
    Rate,
    Staged,
    parse,
    stage_sizes,
)

SAMPLES = 1000
NEEDED = {"multiple": "multiple:of=8"}
BEACON = f"beacon:{Path(__file__).parents[1] / 'data' / 'beacons-planted.json'}"
NAMES = [
    *(f"s32-{family}".rstrip("-") for family in FAMILIES),
    *(f"s32-norm-test+{NEEDED.get(family, family)}" for family in WRAPPERS),
    *(f"s32-growth+{NEEDED.get(family, family)}" for family in WRAPPERS),
    "s32+constant",
    "s32+decay:at=0.25/0.5/0.9,by=0.5",
    "s32-to-512",
    "s512-to-32-MS",
    "s32-to-128-MS+sqrt",
    "s32-norm-test:memory=0.5,theta=0.3+multiple:of=8+bounds:min=8,max=512+hysteresis+linear",
    "s32-noise-scale:factor=0.5+constant+growth-limit:factor=3.0,epochs=0.1+adascale:reference=64",
    BEACON,
    f"{BEACON}+bounds:max=128+sqrt",
]


def rows(draws=200, seed=0):
    """One row for each batch of a run: mostly none, some measured, some broken."""
    random = np.random.default_rng(seed)
    for _ in range(draws):
        kind = random.integers(6)
        if kind < 3:
            yield None
            continue
        n = int(random.integers(2, 64))
        columns = random.normal(size=(5, n)) * random.uniform(0, 40) + random.normal(size=(5, 1))
        row = row_of(columns, lr=0.1, loss=float(random.uniform(0.01, 2)))
        if kind == 3:
            row = dict.fromkeys(row) | {"status": "zero gradient"}
        if kind == 4:
            row["noise/variance"] = math.nan
        yield row


def row_of(columns, lr=0.1, loss=1.0):
    """The monitor's row of these per-sample gradients."""
    return {
        **instruments(columns.T @ columns),
        "batch_size": columns.shape[1],
        "train/loss": loss,
        "lr": lr,
        "fisher/cond": float(np.linalg.cond(columns)) if columns.any() else math.nan,
        "fisher/trace": float((columns**2).sum()),
        "fisher/energy": lr * float((columns**2).sum()) ** 0.5 / columns.shape[1],
        "fisher/energy_sum": 1.0,
        "steps_since": 1,
        "samples": columns.shape[1],
    }


def play(policy, through=lambda state: state, measured=True, epochs=10, per_epoch=20):
    """Decisions of a run with a fixed row for each batch."""
    state, decisions = policy.init(), []
    told = rows(epochs * per_epoch)
    for epoch in range(epochs):
        for batch in range(per_epoch):
            row = next(told)
            seen = Observation(epoch, batch * SAMPLES // per_epoch, SAMPLES, row if measured else None)
            state, decision = policy.update(through(state), seen)
            decisions.append(decision)
    return decisions


def parsed(name, lr=0.1, epochs=10):
    return parse(name, lr=lr, epochs=epochs)


# The contract, over the registry


@pytest.mark.parametrize("name", NAMES)
class TestContract:
    def test_is_a_frozen_policy(self, name):
        policy = parsed(name)
        assert isinstance(policy, Policy)
        assert hash(policy) == hash(parsed(name))
        field = dataclasses.fields(policy)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(policy, field, 1)

    def test_name_is_the_way_back(self, name):
        policy = parsed(name)
        assert parsed(policy.name) == policy
        assert parsed(policy.name).name == policy.name
        assert repr(parsed(policy.name)) == repr(policy)

    def test_state_goes_through_json_bit_for_bit(self, name):
        policy = parsed(name)
        assert play(policy, through=lambda state: json.loads(json.dumps(state))) == play(policy)

    def test_update_is_pure(self, name):
        policy = parsed(name)
        state = policy.init()
        for index, row in enumerate(rows(50)):
            before = copy.deepcopy(row)
            seen = Observation(index // 5, index % 5 * 200, SAMPLES, row)
            old = copy.deepcopy(state)
            new, decision = policy.update(state, seen)
            assert policy.update(state, seen) == (new, decision)
            assert state == old
            assert repr(row) == repr(before)
            state = new

    def test_decisions_are_valid(self, name):
        for decision in play(parsed(name)):
            assert isinstance(decision, Decision)
            assert type(decision.batch_size) is int
            assert 1 <= decision.batch_size <= SAMPLES
            assert type(decision.lr) is float
            assert 0 < decision.lr < math.inf
            assert isinstance(decision.reason, str)

    def test_first_batch_is_the_named_one(self, name):
        first = play(parsed(name), measured=False, epochs=1)[0]
        if not name.startswith("beacon"):
            assert first.batch_size == int(name[1:].split("-")[0].split("+")[0])
        assert first.lr == pytest.approx(0.05 if "reference=64" in name and "linear" in name else 0.1)

    def test_open_loop_ignores_measurements(self, name):
        policy = parsed(name)
        told, untold = (
            [(decision.batch_size, decision.lr) for decision in play(policy, measured=measured)]
            for measured in (True, False)
        )
        assert (told == untold) != policy.closed_loop

    def test_broken_rows_change_nothing(self, name):
        policy = parsed(name)
        broken = dict.fromkeys(row_of(np.eye(4)), math.nan) | {"batch_size": 4}
        state, _ = policy.update(policy.init(), Observation(0, 0, SAMPLES))
        _, silent = policy.update(state, Observation(0, 32, SAMPLES))
        _, after = policy.update(state, Observation(0, 32, SAMPLES, broken))
        assert (after.batch_size, after.lr) == (silent.batch_size, silent.lr)

    def test_after_the_schedule_the_last_level_goes_on(self, name):
        policy = parsed(name)
        state, last = policy.update(policy.init(), Observation(9, 999, SAMPLES))
        _, later = policy.update(state, Observation(25, 0, SAMPLES))
        gain = {"linear": 1.0, "sqrt": 0.5}.get(name.rpartition("+")[2], 0.0)
        assert later.lr == pytest.approx(last.lr * (later.batch_size / last.batch_size) ** gain)
        assert later.batch_size == last.batch_size or "growth" in name


def test_every_registered_family_is_under_the_contract():
    heads = {type(parsed(name)) for name in NAMES}
    assert {*FAMILIES.values(), *WRAPPERS.values(), Staged, BeaconPolicy} <= heads


def test_policies_need_the_standard_library_only():
    code = (
        "import sys, fisherscope.policy; print([m for m in ('torch', 'numpy', 'polars') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


# docs/paper.md, Protocol and Dynamic sampling

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


# The other open-loop policies


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


def test_increase_keeps_rate_over_size():
    fixed, policy = parsed("s8", epochs=8), parsed("s8-increase:share=0.2", epochs=8)
    sizes = []
    for epoch in range(8):
        seen = Observation(epoch, 0, SAMPLES)
        plain, larger = fixed.update(fixed.init(), seen)[1], policy.update(policy.init(), seen)[1]
        assert larger.lr / larger.batch_size == pytest.approx(plain.lr / plain.batch_size, rel=1e-15 * 4)
        sizes.append(larger.batch_size)
    assert sizes == [8, 8, 8, 8, 80, 80, 200, 200]


# Closed-loop policies against the dense oracles


def decide(name, *measured):
    """The decision after these rows."""
    policy = parsed(name)
    state = policy.init()
    for row in measured:
        state, decision = policy.update(state, Observation(0, 0, 10**9, row))
    return decision


COLUMNS = [
    np.random.default_rng(seed).normal(size=(7, n)) * spread
    + np.random.default_rng(seed + 50).normal(size=(7, 1))
    for seed, (n, spread) in enumerate([(2, 3.0), (8, 10.0), (33, 0.1), (64, 30.0), (64, 2.0)])
]


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


def test_big_batch_does_not_wind_up_on_old_rows():
    """Rows of batches from before the last growth, as prefetching makes them, ask for nothing."""
    noisy = row_of(COLUMNS[3])
    policy = parsed("s64-big-batch")
    state, sizes = policy.init(), []
    for _ in range(4):
        state, decision = policy.update(state, Observation(0, 0, SAMPLES, noisy))
        sizes.append(decision.batch_size)
    assert sizes == [71, 71, 71, 71]


def test_a_decision_explains_itself():
    reason = decide("s8-norm-test:theta=0.4+bounds:max=64", row_of(COLUMNS[3])).reason
    assert reason.startswith("norm-test: 8 to ")
    assert reason.endswith("; 64 by bounds")


# Wrappers


class Script:
    """A policy that says given sizes: what the wrappers' own behaviour is told by."""

    closed_loop = False
    rate = Rate(0.1, 10, milestones=())
    name = "script"

    def __init__(self, *sizes):
        self.sizes = sizes

    def init(self):
        return {"next": 0}

    def update(self, state, observation):
        size = self.sizes[min(state["next"], len(self.sizes) - 1)]
        return {"next": state["next"] + 1}, Decision(size, 0.1)


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


# Names and bad input


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("s32-to-128-∅", "s32-to-128"),
        ("s32-to-128-0", "s32-to-128"),
        ("s32-constant", "s32+constant"),
        ("s32-lr0.1", "s32"),
        ("s32-to-128-MS-lr0.1", "s32-to-128-MS"),
        ("s32-norm-test-lr1e-1:theta=0.9", "s32-norm-test"),
        ("s32-cabs-constant+linear", "s32-cabs+constant+linear"),
    ],
)
def test_spellings(name, same):
    assert parsed(name).name == same
    assert parsed(name) == parsed(same)
    if "lr" in name.split("+")[0]:
        assert parse(name, epochs=10) == parsed(same)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("s32-normtest", "'normtest' is unknown; did you mean norm-test?"),
        ("s32-to-128-MX", "'MX' is unknown; did you mean MS?"),
        ("s32+bound:max=3", "'bound' is unknown; did you mean bounds?"),
        ("s32+bounds:maxi=3", "no option 'maxi'; did you mean max?"),
        ("s32-zzz", "expected one of growth, increase, norm-test"),
        ("adam", "expected a form such as s32"),
        ("s32+multiple", "needs of; write of="),
        ("s32-norm-test:theta=x", "theta='x' is not a number"),
        ("s32+bounds:min=9,max=3", "max=3 lies below min=9; exchange"),
        ("s32-to-100", "not 32 times a power of two; the next ones that are: 64 and 128"),
        ("s0", "must be a whole number of at least 1"),
        ("s1-cabs", "must be a whole number of at least 2"),
        ("s32-lr0.2", "it says lr=0.2, but lr=0.1 was given"),
        ("s32-norm-test:theta=0", "theta=0.0 must be above 0"),
        ("s32-cabs:memory=1", "memory=1.0 must be in"),
        ("s32+decay:at=21/31,by=0.1", "fractions of the run, not epochs"),
        ("s32+decay:at=half", "expected decay:at=0.5/0.75,by=0.1"),
        ("s32-to-64:x=1", "a staged schedule has no options"),
        ("s32+hysteresis:ratio=1", "ratio=1.0 must be above 1"),
        ("s32-cabs:least=64,most=32", "expected 2 <= least=64 <= most=32"),
        ("s32+growth-limit:epochs=inf", "epochs=inf must be above 1e-06 and finite"),
        ("s32+growth-limit:epochs=1e-9", "epochs=1e-09 must be above 1e-06"),
        ("s32+growth-limit:factor=inf", "factor=inf must be above 1 and finite"),
        ("s32-growth:factor=inf", "factor=inf must be above 1 and finite"),
        ("s32+decay:at=./.,by=0.1", "expected decay:at=0.5/0.75,by=0.1"),
        ("s" + "9" * 5000, "expected a form such as s32"),
    ],
)
def test_wrong_names_say_what_to_do(name, message):
    with pytest.raises(ValueError, match=message.replace("+", r"\+")):
        parsed(name)


@pytest.mark.parametrize(
    "name", ["s32-growth:factor=1e308", "s32-growth:factor=99+growth-limit:factor=1e308"]
)
def test_factors_beyond_all_numbers_stop_at_the_data(name):
    policy = parsed(name)
    state, _ = policy.update(policy.init(), Observation(0, 0, 1000))
    for start in (32, 64):
        state, decision = policy.update(state, Observation(0, start, 1000))
    assert decision.batch_size == 1000


def test_wrong_rates_say_what_to_do():
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="must be positive and finite"):
            parse("s32", lr=bad, epochs=10)
    with pytest.raises(ValueError, match="epochs=0 must be at least 1"):
        parse("s32", lr=0.1, epochs=0)
    with pytest.raises(ValueError, match=r"no learning rate; give lr=0.1, or write s32-lr0.1"):
        parse("s32", epochs=10)
    with pytest.raises(ValueError, match="batch size True"):
        Fixed(True, Rate(0.1, 10))
