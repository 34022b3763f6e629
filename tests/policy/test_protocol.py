"""One contract for every policy family and wrapper, over the registry."""

import copy
import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from tests.cases.policy_runs import (
    NAMES,
    SAMPLES,
    parsed,
    row_of,
)

from fisherscope.policy import (
    FAMILIES,
    WRAPPERS,
    BeaconPolicy,
    Decision,
    Observation,
    Policy,
    Staged,
)


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
        lr = 0.001 if "warmup" in name else 0.1
        assert first.lr == pytest.approx(0.05 if "reference=64" in name and "linear" in name else lr)

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
        end = (9, 999) if policy.rate.shape == "levels" else (10, 0)  # a curve falls up to its end
        state, last = policy.update(policy.init(), Observation(*end, SAMPLES))
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
