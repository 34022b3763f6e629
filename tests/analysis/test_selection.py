"""Selection and its back-test on sweeps whose best setting is known."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.cases.planted_sweep import Truth, final_error, write

from fisherscope.analysis import AnalysisError, select
from fisherscope.analysis.selection.surrogate import expected_improvement, forecast, next_setting
from fisherscope.runs.step_times import STEP_TIMES, StepTimesRecord, add_step_times, timed_config

FINISHED = ("s8-lr0.025", "s16-lr0.1", "s32-lr0.05", "s64-lr0.2", "s32-lr0.2")
GRID = Truth(seeds=1)
NAMES = {f"s{b}-lr{a:g}": (b, a) for b in GRID.batch_sizes for a in GRID.lrs}


def early(**changes) -> Truth:
    open_ = {name: 3 for name in NAMES if name not in FINISHED}
    return dataclasses.replace(GRID, **{"unfinished": open_, **changes})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("early"), early(diverged=("s8-lr0.2",)))


def test_prediction_recommendation_and_next_run(root: Path) -> None:
    found = select(root)
    truth = {name: final_error(GRID, *place) for name, place in NAMES.items() if name != "s8-lr0.2"}
    assert found.epoch == 3
    assert truth[found.recommended] <= min(truth.values()) + 0.01
    assert found.spent_epochs == 5 * 12 + 10 * 3 + 2
    assert found.all_epochs == 16 * 12
    assert found.next_setting not in FINISHED
    assert found.next_run == f"{found.next_setting}-seed0"
    states = dict(found.candidates.select("setting", "state").iter_rows())
    assert states["s8-lr0.2"] == "diverged"
    assert found.candidates["setting"][-1] == "s8-lr0.2"
    assert {states[name] for name in FINISHED} == {"finished"}
    assert "s8-lr0.2" not in found.indistinguishable


def test_a_setting_that_has_not_ended_is_not_recommended_over_those_that_have(tmp_path: Path) -> None:
    """The best of the grid is still open, and its forecast is the lowest: it is what to finish next."""
    best = min(NAMES, key=lambda name: final_error(GRID, *NAMES[name]))
    worse = sorted(NAMES, key=lambda name: final_error(GRID, *NAMES[name]))[4:]
    open_ = {name: 3 for name in NAMES if name not in worse}
    found = select(write(tmp_path, early(unfinished=open_)))
    states = dict(found.candidates.select("setting", "state").iter_rows())
    assert states[best] == "predicted"
    assert found.candidates["setting"][0] in open_
    assert states[found.recommended] == "finished"
    assert found.next_setting in open_


def test_the_sentences_say_what_to_do(root: Path) -> None:
    text = str(select(root))
    size, lr = NAMES[select(root).recommended]
    assert f"Use batch size {size}, learning rate {lr:g}" in text
    assert "validation error" in text
    assert "(80 % interval" in text
    assert "Spent 92 of 192 epochs. Next:" in text
    assert "s8-lr0.2 diverged" in text


def test_the_fastest_of_the_set(root: Path) -> None:
    found = select(root)
    inside = found.candidates.filter(pl.col("in_set"))  # no seconds a step were recorded: fewest steps
    fewest = inside.sort("steps")["batch_size"][0]
    assert found.row(found.fastest or found.recommended)["batch_size"] == fewest
    assert found.indistinguishable[0] == found.recommended


@pytest.mark.parametrize(("each", "faster"), [(1.0, False), (0.0, True)])
def test_only_what_trains_clearly_faster_is_called_so(root: Path, each: float, faster: bool) -> None:
    """Steps that take as long as their samples gain nothing with larger batches; steps of one length do."""
    seconds = {size: (float(size) if each else 1.0,) * 5 for size in GRID.batch_sizes}
    add_step_times(root, StepTimesRecord(timed_config({"task": GRID.task}), seconds))
    try:
        found = select(root)
    finally:
        (root / STEP_TIMES).unlink()
    assert (found.speed_up is not None) is (faster and found.fastest is not None)
    assert ("times faster" in str(found)) is (found.speed_up is not None)


def test_intervals_cover(tmp_path: Path) -> None:
    """80 % intervals from six random beacons cover the true errors of most of the ten others (six sweeps)."""
    inside = total = 0
    for salt in range(6):
        beacons = np.random.default_rng(salt).choice(sorted(NAMES), 6, replace=False)
        open_ = {name: 3 for name in NAMES if name not in beacons}
        found = select(write(tmp_path / str(salt), early(salt=salt, unfinished=open_)))
        for row in found.candidates.filter(pl.col("state") == "predicted").iter_rows(named=True):
            inside += row["low"] <= final_error(GRID, row["batch_size"], row["lr"]) <= row["high"]
            total += 1
    assert total == 60
    assert inside >= 36  # 48 expected; 3.9 standard deviations below, were they independent


def test_all_finished_and_many_seeds_is_measurement(tmp_path: Path) -> None:
    found = select(write(tmp_path, dataclasses.replace(GRID, seeds=3, error_noise=0.0002, early_noise=0.0)))
    assert found.next_setting is None
    assert found.distinguishable
    best = min(NAMES, key=lambda name: final_error(GRID, *NAMES[name]))
    assert found.recommended == best
    ties = [
        name for name in NAMES if final_error(GRID, *NAMES[name]) < final_error(GRID, *NAMES[best]) + 1e-9
    ]
    assert set(found.indistinguishable) == set(ties)


def test_nothing_to_tell_apart_is_an_answer(tmp_path: Path) -> None:
    flat = dataclasses.replace(
        GRID, bowl=0.0, error_noise=0.004, seeds=2, early_noise=0.0, lrs=(0.05, 0.1), batch_sizes=(8, 16)
    )
    found = select(write(tmp_path, dataclasses.replace(flat, salt=1)))
    assert not found.distinguishable
    assert "No setting is distinguishable" in str(found)


def test_edges_are_told(tmp_path: Path) -> None:
    found = select(write(tmp_path, dataclasses.replace(GRID, ratio=-20.0, epochs=4, error_noise=0.0001)))
    assert "64 is the largest batch size" in str(found)
    assert "0.025 is the smallest learning rate" in str(found)


def test_too_early_to_recommend(tmp_path: Path) -> None:
    found = select(write(tmp_path, dataclasses.replace(GRID, unfinished=dict.fromkeys(NAMES, 2))))
    assert found.recommended is None
    assert found.next_setting is not None
    assert "Finished settings: 0; at least 3" in str(found)


def test_bad_input(root: Path, tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="no run"):
        select(tmp_path)
    with pytest.raises(AnalysisError, match=r"epoch 40.*1 to 12"):
        select(root, at_epoch=40)
    with pytest.raises(AnalysisError, match="expected one of auto, grid"):
        select(root, predictor="magic")
    write(tmp_path, Truth(seeds=1, epochs=4, diverged=tuple(NAMES)))
    lost = select(tmp_path)
    assert lost.recommended is None
    assert "diverged" in str(lost)


def test_one_run_only(tmp_path: Path) -> None:
    found = select(write(tmp_path, dataclasses.replace(GRID, batch_sizes=(8,), lrs=(0.1,))))
    assert found.recommended == "s8-lr0.1"
    assert "One seed" in str(found)


def test_expected_improvement_against_an_integral() -> None:
    draws = np.random.default_rng(0).normal(0.3, 0.7, 400_000)
    found = expected_improvement(np.array([0.3, 2.0, 0.5]), np.array([0.7, 0.0, 0.0]), 1.0)
    gains = np.maximum(1 - draws, 0)
    assert found[0] == pytest.approx(gains.mean(), abs=4 * gains.std() / math.sqrt(len(gains)))
    assert found[1] == pytest.approx(0, abs=1e-9)
    assert found[2] == pytest.approx(0.5, abs=1e-9)


def test_next_setting_spreads_then_improves() -> None:
    features = np.column_stack([np.arange(6.0), np.zeros(6)])
    final, everything = np.full(6, np.nan), np.ones(6, dtype=bool)
    order = np.array([3.0, 1, 0, 2, 5, 4])
    assert next_setting(features, final, everything, order) == 2
    final[2] = 1.0
    assert next_setting(features, final, everything, order) == 0  # the farthest of the promising 0, 1, 3
    final[[0, 5]] = 2.0, math.inf
    assert next_setting(features, final, everything, order) in (1, 3)
    final[:] = 0.0
    assert next_setting(features, final, everything, order) is None
    with pytest.raises(AnalysisError, match="at least 3"):
        forecast(features, np.array([1.0, 2, np.nan, np.nan, np.nan, np.inf]), everything)


def test_a_finished_setting_s_metric_is_the_mean_that_the_landscape_has(tmp_path: Path) -> None:
    from fisherscope.analysis import landscape

    root = write(tmp_path, dataclasses.replace(GRID, seeds=3, error_noise=0.005))
    means = dict(landscape(root).points.select("setting", "metric").iter_rows())
    for setting, expected in select(root).candidates.select("setting", "expected").iter_rows():
        assert expected == pytest.approx(means[setting])
