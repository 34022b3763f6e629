"""BeaconPolicy: right choice, pure, resumable after SIGKILL."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path

import pytest
from tests.cases.beacon_runs import FILE, NEW, RATE, planted
from tests.cases.trained_runs import assert_same_run, killed_at

from fisherscope.policy import (
    BeaconPolicy,
    Observation,
    Place,
    Spread,
)
from fisherscope.policy.beacon import run_state
from fisherscope.policy.beacon.candidates import schedules
from fisherscope.policy.beacon.region import region_of
from fisherscope.training import ConfigurationError, train


def row(size: int, samples: int, energy: float, cond: float, density: float) -> dict[str, float]:
    return {
        "fisher/cond": cond,
        "fisher/energy": 0.1 * density / math.sqrt(size),
        "lr": 0.1,
        "fisher/energy_sum": energy,
        "batch_size": size,
        "steps_since": samples // size,
        "samples": samples,
    }


def test_it_goes_to_the_region_the_cheapest_way() -> None:
    policy = BeaconPolicy(planted(), RATE)
    state, decision = policy.update(policy.init(), Observation(0, 0, 320))
    assert decision.reason.startswith("beacon: ")
    doubt = run_state.run_so_far(policy.init(), policy.beacons)
    ends = {s: policy._beacon_forecaster.end(doubt, 0, 0, s) for s in schedules(3, None, 20, 10)}
    chances = {s: policy._chance(end) for s, end in ends.items()}
    likely = [s for s, chance in chances.items() if chance >= 0.7 * max(chances.values())]
    chosen = tuple(state["plan"])
    assert 1 < len(likely) < len(ends)
    assert chosen in likely
    assert ends[chosen].seconds == min(ends[s].seconds for s in likely)
    assert region_of(policy.beacons.region).contains(ends[chosen].cond, ends[chosen].energy)


def test_each_twentieth_of_the_run_is_decided_in_one_sentence() -> None:
    policy = BeaconPolicy(planted(), RATE)
    state, told = policy.init(), []
    for epoch in range(40):
        for batch in range(0, 320, 32):
            state, decision = policy.update(state, Observation(epoch, batch, 320))
            told += [(epoch, batch, decision.reason)] if decision.reason else []
    assert [(epoch, batch) for epoch, batch, _ in told] == [(2 * part, 0) for part in range(20)]
    assert all(reason.startswith("beacon: ") and "% inside" in reason for *_, reason in told)
    assert "beacon: still " in told[-1][2]


def test_a_change_of_size_is_a_doubt_as_large_as_the_beacons_differ() -> None:
    """c = B: from 8 to 32 for the second half of the samples, log c lies log 4 above the past's."""
    policy = BeaconPolicy(planted(), RATE)
    same = policy._beacon_forecaster.end(NEW, 0, 0, (0,) * 20)
    moved = policy._beacon_forecaster.end(NEW, 0, 0, (0,) * 10 + (2,) * 10)
    assert (same.cond_std, same.energy_std) == (0.0, 0.0)
    steps, away = [80] * 10 + [20] * 10, 0.0
    for part in range(10, 20):
        past = (10 * math.log(8) + (part - 10) * math.log(32)) / part
        away += steps[part] * (math.log(32) - past)
    assert moved.cond_std == pytest.approx(away / sum(steps))
    assert moved.energy_std == 0.0  # the density is the same at every size


def test_what_the_run_shows_corrects_the_forecast() -> None:
    """Measurements twice the beacons' pull the offset to log 2, as far as the spreads allow."""
    policy = BeaconPolicy(planted(), RATE)
    state, first = policy.update(policy.init(), Observation(0, 0, 320))
    size = first.batch_size
    for epoch in range(1, 6):
        seen = row(size, 320 * epoch, 0.1 * epoch, 2.0 * size, 3.0)
        state, _ = policy.update(state, Observation(epoch, 0, 320, seen))
    so_far = run_state.run_so_far(state, policy.beacons)
    weight = sum(0.95**k for k in range(5))
    assert so_far.offsets[0] == pytest.approx(math.log(2) * weight / (1 + weight))
    assert so_far.offsets[1] == pytest.approx(math.log(3) * weight / (1 + weight))
    assert so_far.energy == 0.5
    assert so_far.sizes == pytest.approx(1600 * math.log(size))
    assert so_far.deviations[0] < run_state.run_so_far(policy.init(), policy.beacons).deviations[0]


def test_what_is_added_up_is_compared_by_its_mean() -> None:
    """L is a sum: densities of 0.5 and 1.5 are on the whole the beacons' 1, their logarithms are not."""
    policy = BeaconPolicy(planted(), RATE)
    state, first = policy.update(policy.init(), Observation(0, 0, 320))
    for epoch in range(1, 201):
        seen = row(first.batch_size, 40 * epoch, 0.1, 16.0, 0.5 if epoch % 2 else 1.5)
        state, _ = policy.update(state, Observation(0, 8, 320, seen))
    assert run_state.run_so_far(state, policy.beacons).offsets[1] == pytest.approx(0.0, abs=0.03)


def test_broken_measurements_keep_the_size_and_say_so() -> None:
    policy = BeaconPolicy(planted(), RATE)
    state, first = policy.update(policy.init(), Observation(0, 0, 320))
    for key, value in (("fisher/cond", math.nan), ("fisher/energy", 0.0), ("fisher/energy_sum", None)):
        told = {**row(8, 16, 0.1, 8.0, 1.0), key: value}
        new, decision = policy.update(state, Observation(0, 16, 320, told))
        assert new == state
        assert decision.batch_size == first.batch_size
        assert f"{key} is not a positive number" in decision.reason
    with pytest.raises(ValueError, match=r"no 'fisher/cond'.*sampler\.step"):
        policy.update(state, Observation(0, 16, 320, {"batch_size": 8}))


def test_its_own_first_epochs_stand_in_for_beacons() -> None:
    policy = BeaconPolicy(planted(beacons=(), tour=(8, 32)), RATE)
    state, sizes = policy.init(), []
    for epoch in range(4):
        last = (8, 32, 16)[min(epoch, 3) - 1]
        seen = row(last, 320 * epoch, 0.1 * epoch, float(last), 1.0) if epoch in (1, 2) else None
        state, decision = policy.update(json.loads(json.dumps(state)), Observation(epoch, 0, 320, seen))
        sizes.append(decision.batch_size)
    assert sizes[:2] == [8, 32]
    assert state["tour"] == {"8": [1.0, math.log(8), 0.0], "32": [1.0, math.log(32), 0.0]}
    assert policy._forecaster(state).growth.at(0, 16)[0] == pytest.approx(math.log(16))
    blind = policy.init()
    with pytest.raises(ValueError, match=r"0 of the sizes .* measure more often"):
        policy.update(blind, Observation(2, 0, 320))


def test_another_task_s_beacons_are_refused(tmp_path: Path) -> None:
    config = {"task": "digits/resnet8", "policy": f"beacon:{FILE}", "lr": 0.03, "epochs": 40, "threads": 1}
    with pytest.raises(ConfigurationError, match="its beacons are for digits/mlp"):
        train(config, tmp_path)
    with pytest.raises(ConfigurationError, match="with 100 samples"):
        train(config | {"task": "digits/mlp", "limit_train": 100}, tmp_path)
    assert not list(tmp_path.iterdir())
    policy = BeaconPolicy(planted(), RATE)
    with pytest.raises(ValueError, match="this run has 500"):
        policy.update(policy.init(), Observation(0, 8, 500))


@pytest.mark.parametrize("policy", [f"beacon:{FILE}", "s8-norm-test+bounds:max=64"])
def test_killed_it_takes_the_same_decisions(policy: str, tmp_path: Path) -> None:
    config = {"task": "digits/mlp", "policy": policy, "lr": 0.03, "epochs": 40, "per_epoch": 2, "threads": 1}
    config |= {} if "beacon" in policy else {"epochs": 8}
    alone = train(config, tmp_path / "alone").path
    assert killed_at(tmp_path / "killed", config, 0.2, signal.SIGKILL)
    assert train(config, tmp_path / "killed").status == "finished"
    assert_same_run(next((tmp_path / "killed").iterdir()), alone)
    told = (alone / "epochs.jsonl").read_text()
    assert ("beacon: " if "beacon" in policy else "norm-test: ") in told


def test_a_batch_beyond_memory_is_accumulated_and_measured_whole(tmp_path: Path) -> None:
    config = {"task": "digits/mlp", "batch_size": 64, "lr": 0.05, "epochs": 1, "every": 1, "threads": 1}
    whole, parts = (train(config | more, tmp_path).path for more in ({}, {"micro_batch": 24}))
    first, second = (
        [json.loads(line) for line in (path / "steps.jsonl").read_text().splitlines()]
        for path in (whole, parts)
    )
    assert [r["batch_size"] for r in second] == [64, 64, 64, 64, 44]
    for a, b in zip(first, second, strict=True):
        assert b["status"] == "ok"
        for key in ("train/loss", "fisher/trace", "fisher/cond"):
            assert b[key] == pytest.approx(a[key], rel=2e-3), key


def test_rates_are_chosen_with_the_sizes_and_each_change_is_said() -> None:
    """Only twice the rate gathers twice the L at c = 16; at equal time the likeliest is taken."""
    twice = Place(
        "s16",
        16.0,
        2 * math.exp(BeaconPolicy(planted(), RATE)._beacon_forecaster.end(NEW, 0, 0, (1,) * 20).energy),
        True,
    )
    others = [Place(f"s{size}", float(size), place.energy, False)
              for size, place in zip((8, 32), planted().region[::2], strict=True)]  # fmt: skip
    beacons = planted(rates=(0.5, 1.0, 2.0), region=(twice, *others))
    policy = BeaconPolicy(beacons, RATE)
    for plan in ((1,) * 20, (0,) * 10 + (2,) * 10):
        ends = [policy._forecasters[rate].end(NEW, 0, 0, plan) for rate in beacons.rates]
        assert [end.energy - ends[1].energy for end in ends] == pytest.approx([-math.log(2), 0, math.log(2)])
        assert len({round(end.cond, 9) for end in ends}) == 1
    state, decision = policy.update(policy.init(), Observation(0, 0, 320))
    assert (decision.lr, state["rate"]) == (0.2, 2.0)
    assert decision.reason.startswith("beacon: rate 0.1 to 0.2 (from 1 to 2 of its schedule), ")
    assert " at 2 of the rate, " in decision.reason
    state = json.loads(json.dumps(state))
    _, later = policy.update(state, Observation(20, 0, 320))
    assert later.lr == pytest.approx(0.02)  # the schedule's levels stay
    assert "rate 0.0" not in later.reason
    alone = BeaconPolicy(planted(region=beacons.region), RATE)
    assert alone.update(alone.init(), Observation(0, 0, 320))[1].lr == 0.1


def test_a_run_that_gathers_too_little_is_given_another_rate() -> None:
    spread = Spread(0.5, 0.05)
    policy = BeaconPolicy(planted(rates=(0.5, 1.0, 2.0), energy_spread=spread), RATE)
    state, first = policy.update(policy.init(), Observation(0, 0, 320))
    assert first.lr == 0.1
    size, energy = first.batch_size, 0.0
    for epoch in range(1, 9):
        samples = 320 * epoch
        energy += 320 / size * 0.1 * 0.5 / math.sqrt(size)  # half of the beacons' density
        moment = Observation(
            epoch, 0, 320, {**row(size, samples, energy, float(size), 0.5), "steps_since": 320 // size}
        )
        state, decision = policy.update(state, moment)
        size = decision.batch_size
        if decision.lr != 0.1:
            break
    assert decision.lr == 0.2
    assert "beacon: rate 0.1 to 0.2 (from 1 to 2 of its schedule), " in decision.reason
    unmoved = {key: value for key, value in state.items() if key != "rate"}  # of a version without rates
    assert policy.update(unmoved, Observation(epoch, 32, 320))[1].lr == 0.1


def test_files_without_rates_keep_their_digest_and_wrong_ones_are_refused() -> None:
    assert "rates" not in json.loads(planted().to_json())
    assert json.loads(planted(rates=(1.0, 2.0)).to_json())["rates"] == [1.0, 2.0]
    assert planted().digest != planted(rates=(1.0, 2.0)).digest
    for rates in ((1.0, 0.5), (2.0,), (0.0, 1.0), ()):
        with pytest.raises(ValueError, match="increasing multipliers, 1 among them"):
            planted(rates=rates)
    with pytest.raises(ValueError, match="other rates need beacons"):
        planted(rates=(1.0, 2.0), beacons=(), tour=(8, 16))
    with pytest.raises(ValueError, match=r"steering at lr=0\.4: only 0 batch sizes have beacons"):
        BeaconPolicy(planted(rates=(1.0, 4.0)), RATE)
