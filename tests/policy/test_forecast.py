"""Forecasts are the sums, step by step."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from tests.cases.beacon_runs import NEW, RATE, SIZES, _energy, planted

from fisherscope.analysis import beacons_of
from fisherscope.policy import (
    BeaconPolicy,
    Rate,
)
from fisherscope.training import train


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
