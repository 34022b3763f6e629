"""BeaconPolicy: right sums, right choice, pure, resumable after SIGKILL, and clear about wrong beacons."""

from __future__ import annotations

import json
import math
import signal
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from tests.training.test_training import assert_same_run, killed_at

from fisherscope.analysis import AnalysisError, beacons_of, export_runs, landscape
from fisherscope.policy import (
    Beacon,
    BeaconPolicy,
    Beacons,
    Observation,
    Place,
    Rate,
    Spread,
    parse,
    read_beacons,
)
from fisherscope.policy.beacon import run_state
from fisherscope.policy.beacon.candidates import schedules
from fisherscope.policy.beacon.forecast import RunSoFar
from fisherscope.policy.beacon.growth import BeaconGrowth
from fisherscope.policy.beacon.region import region_of
from fisherscope.training import ConfigurationError, train

FILE = Path(__file__).parents[1] / "data" / "beacons-digits-mlp.json"
SWEEP = Path(__file__).parents[2] / "experiments" / "results" / "sweeps" / "digits-mlp.zip"
SIZES = (8, 16, 32)
RATE = Rate(0.1, 40)
NEW = RunSoFar(0, 0, 0.0, 0.0, 0.0, (0.0, 0.0), (0.0, 0.0))
"""Nothing done, and no doubt."""


def planted(**changes: Any) -> Beacons:
    """c = B at every step, density 1: so log C̄ is the steps' mean of log B, and L follows by hand."""
    made = [Beacon(size, lr, (float(size),) * 20, (1.0,) * 20) for size in SIZES for lr in (0.05, 0.2)]
    places = [Place(f"s{s}", float(s), _energy([s] * 20), s == 16) for s in SIZES]
    given: dict[str, Any] = {
        "task": "t", "meant_for": "t", "samples": 320, "epochs": 40, "milestones": (0.5, 0.75), "factor": 0.1,
        "axis": "cond_geomean", "sizes": SIZES, "seconds": (1.0, 1.0, 1.0), "region": tuple(places),
        "beacons": tuple(made), "cond_spread": Spread(0.05, 0.05), "energy_spread": Spread(0.05, 0.05),
    }  # fmt: skip
    return Beacons(**{**given, **changes})


def _energy(sizes: list[int]) -> float:
    """L of a run with density 1, written out step by step."""
    total = 0.0
    for part, size in enumerate(sizes):
        rate = 0.1 if part < 10 else 0.01 if part < 15 else 0.001
        total += sum(rate / math.sqrt(size) for _ in range(640 // size))
    return total


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


def test_forecasts_are_the_sums_step_by_step() -> None:
    policy = BeaconPolicy(planted(), RATE)
    done = NEW
    for plan in ((0,) * 20, (2,) * 20, (0,) * 7 + (1,) * 6 + (2,) * 7):
        sizes = [SIZES[k] for k in plan]
        steps = [math.log(size) for size in sizes for _ in range(640 // size)]
        end = policy._beacon_forecaster.end(done, 0, 0, plan)
        assert end.cond == pytest.approx(sum(steps) / len(steps), rel=1e-12)
        assert math.exp(end.energy) == pytest.approx(_energy(sizes), rel=1e-12)
        assert end.seconds == pytest.approx(len(steps))


def test_an_epoch_s_last_batch_counts_by_its_own_size() -> None:
    policy = BeaconPolicy(planted(samples=40), RATE)
    end = policy._beacon_forecaster.end(NEW, 0, 0, (2,) * 20)
    assert end.cond == pytest.approx((math.log(32) + math.log(8)) / 2)


def test_arithmetic_means_average_the_measure_itself() -> None:
    policy = BeaconPolicy(planted(axis="cond_mean"), RATE)
    end = policy._beacon_forecaster.end(NEW, 0, 0, (0,) * 10 + (2,) * 10)
    assert math.exp(end.cond) == pytest.approx((800 * 8 + 200 * 32) / 1000)


def test_growth_between_sizes_and_rates_is_on_the_line() -> None:
    growth = BeaconGrowth((8, 32), ((1.0, 3.0),), ((0.0, -2.0),))
    assert growth.at(0, 16) == pytest.approx((2.0, -1.0))
    assert growth.at(0, 4) == pytest.approx((0.0, 1.0))


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


def test_the_file_is_the_value() -> None:
    beacons = read_beacons(FILE)
    policy = parse(f"beacon:{FILE}", lr=0.03, epochs=40)
    assert policy.name == f"beacon:{FILE}@{beacons.digest}"
    assert parse(policy.name, lr=0.03, epochs=40) == policy
    assert replace(beacons, chance=0.6).digest != beacons.digest
    assert asdict(Beacons(**vars_of(beacons))) == asdict(beacons)


def vars_of(beacons: Beacons) -> dict[str, Any]:
    return {name: getattr(beacons, name) for name in asdict(beacons)}


@pytest.mark.parametrize(
    ("name", "lr", "epochs", "words"),
    [
        ("beacon:absent.json", 0.03, 40, "fisherscope beacons RUNS"),
        ("beacon", 0.03, 40, "no file"),
        (f"beacon:{__file__}", 0.03, 40, "not JSON"),
        (f"beacon:{FILE}@0123456789ab", 0.03, 40, "has changed"),
        (f"beacon:{FILE}", 0.03, 80, "region is that of one budget"),
        (f"beacon:{FILE}+constant", 0.03, 40, "region is that of one budget"),
        (f"beacon:{FILE}", 5.0, 40, "batch sizes have beacons at that learning rate"),
        (f"beacon:{FILE}+bounds:max=64", 0.03, 40, "plans with sizes 128.*--sizes"),
        ("becon:x", 0.03, 40, r"did you mean beacon:FILE\.json\?"),
    ],
)
def test_wrong_names_are_told(name: str, lr: float, epochs: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(name, lr=lr, epochs=epochs)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"axis": "cond"}, "expected a mean such as cond_geomean"),
        ({"sizes": (8,)}, "at least 2, increasing"),
        ({"samples": 16}, "expected 2 to 16 samples"),
        ({"seconds": (1.0, 0.0, 1.0)}, "one positive number"),
        ({"region": (Place("s8", 1.0, 1.0, False),)}, "no setting inside"),
        ({"beacons": (Beacon(8, 0.1, (), ()), Beacon(16, 0.1, (), ()))}, "growth must be positive numbers"),
        ({"beacons": ()}, "give beacons, or at least two sizes"),
        ({"beacons": (), "tour": (8,)}, "at least two sizes"),
        ({"chance": 1.0}, "must be in"),
    ],
)
def test_contradictory_beacons_are_told(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        planted(**change)


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


def test_the_forecast_of_a_beacon_s_own_schedule_is_its_own_end(tmp_path: Path) -> None:
    config = {"task": "digits/mlp", "limit_train": 256, "lr": 0.05, "epochs": 5, "every": 1, "threads": 1}
    runs = {size: train(config | {"batch_size": size}, tmp_path).path for size in (16, 64)}
    beacons = beacons_of(tmp_path, {16: 0.1, 64: 0.2}, axis="cond_geomean")
    ahead = BeaconPolicy(beacons, Rate(0.05, 5))._beacon_forecaster
    for number, path in enumerate(runs.values()):
        last = json.loads((path / "epochs.jsonl").read_text().splitlines()[-1])
        end = ahead.end(NEW, 0, 0, (number,) * 20)
        assert math.exp(end.energy) == pytest.approx(last["fisher/energy_sum"], rel=1e-6)
        assert math.exp(end.cond) == pytest.approx(last["fisher/cond_geomean"], rel=1e-6)


def test_beacons_of_an_exported_sweep_aim_at_the_five_best() -> None:
    made = beacons_of(SWEEP, {4: 0.1, 128: 0.2}, axis="cond_geomean")
    plane = landscape(SWEEP, x="cond_geomean")
    inside = {place.setting for place in made.region if place.inside}
    assert inside == set(plane.best["setting"]) | set(plane.region["setting"])
    assert len(inside) == 5
    assert len(made.beacons) >= 30
    with pytest.raises(
        AnalysisError,
        match=r"the column of axis='effective_rank_mean'; they have fisher/cond, .* export give",
    ):
        beacons_of(SWEEP, {4: 0.1, 128: 0.2})


def test_beacons_of_real_runs(tmp_path: Path) -> None:
    for size in (16, 64):
        train(
            {"task": "digits/mlp", "batch_size": size, "lr": 0.05, "epochs": 2, "per_epoch": 2, "threads": 1},
            tmp_path,
        )
        if size == 16:
            with pytest.raises(AnalysisError, match="1 batch sizes have finished"):
                beacons_of(tmp_path, {16: 0.1})
    made = beacons_of(tmp_path, {16: 0.1, 64: 0.2})
    assert (made.sizes, made.seconds, made.samples, made.epochs) == ((16, 64), (0.1, 0.2), 300, 2)
    assert made.beacons[0].cond[0] < made.beacons[1].cond[0]
    export_runs(tmp_path, tmp_path / "all.zip")
    for axis in ("cond_geomean", "effective_rank_mean"):
        one, other = (beacons_of(p, {16: 0.1}, axis=axis).beacons for p in (tmp_path, tmp_path / "all.zip"))
        assert other[1].cond == pytest.approx(one[1].cond, rel=1e-6)
    with pytest.raises(AnalysisError, match=r"no runs of batch sizes \[32\]; there are \[16, 64\]"):
        beacons_of(tmp_path, {16: 0.1}, sizes=(16, 32))
    with pytest.raises(AnalysisError, match=r"another architecture.*DenseNet-8.*--across"):
        beacons_of(tmp_path, {16: 0.1}, meant_for="mnist/resnet8")
    with pytest.warns(UserWarning, match="its region may be another"):
        related = beacons_of(tmp_path, {16: 0.1}, meant_for="mnist/mlp", samples=600)
    assert related.region[0].energy == pytest.approx(2 * made.region[0].energy)
    assert related.cond_spread.run == pytest.approx(3 * made.cond_spread.run)


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
