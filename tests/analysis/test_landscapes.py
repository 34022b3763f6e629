"""The landscape: positions, surfaces, the region, on sweeps whose truth is known; and what bad input says."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.cases.planted_sweep import Truth, final_error, write

import fisherscope as fs
from fisherscope.analysis import AnalysisError, landscape, settings_of
from fisherscope.analysis.data import run_measures
from fisherscope.analysis.landscapes import surface
from fisherscope.analysis.stats.gaussian_process import GaussianProcess


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    truth = Truth(diverged=("s8-lr0.2",), unfinished={"s64-lr0.025": 5}, seeds=2, spectra=True)
    return write(tmp_path_factory.mktemp("sweep"), truth)


def test_positions_are_those_that_were_planted(sweep: Path) -> None:
    truth, found = Truth(), landscape(sweep)
    for row in found.surface_settings.iter_rows(named=True):
        expected = 2 ** (5 + truth.cond_slopes @ np.log2([row["batch_size"], row["lr"]]))
        bias = math.exp((truth.step_noise * math.log(2)) ** 2 / 2)  # mean of a lognormal over its median
        assert row["x"] == pytest.approx(expected * bias, rel=0.35)  # 48 steps x 2 seeds, 5 standard errors
        assert row["metric"] == pytest.approx(final_error(truth, row["batch_size"], row["lr"]), abs=0.003)


def test_best_region_and_left_out_runs(sweep: Path) -> None:
    found = landscape(sweep)
    truth = Truth()
    known = found.surface_settings
    expected = min(known.iter_rows(named=True), key=lambda r: final_error(truth, r["batch_size"], r["lr"]))
    assert found.best["setting"][0] == expected["setting"]
    assert len(found.best) == 5
    assert found.level == pytest.approx(found.best["metric"][0] + max(0.1 * found.best["metric"][0], 0.002))
    assert set(found.region["setting"]) == set(known.filter(pl.col("metric") <= found.level)["setting"])
    assert {"s8-lr0.2", "s64-lr0.025"}.isdisjoint(known["setting"])
    assert "s8-lr0.2 diverged" in str(found)
    assert found.points.filter(pl.col("setting") == found.best["setting"][0])["distance"][0] == pytest.approx(
        0, abs=1e-12
    )


def test_any_epoch_and_any_measure(sweep: Path) -> None:
    early = landscape(sweep, epoch=3, x="cond_geomean@relative:1e-2", y="fisher/energy_sum")
    assert early.epoch == 3
    with pytest.raises(AnalysisError, match="energy_sum"):
        landscape(sweep, y="energysum")
    with pytest.raises(AnalysisError, match=r"epoch 40.*up to 12"):
        landscape(sweep, epoch=40)


def test_recomputed_means_are_those_of_a_loop(sweep: Path) -> None:
    source = settings_of(sweep)
    found = run_measures.at_epoch(source, "cond_geomean@exact", 4)
    run_id = found["run_id"][3]
    rows = source.runs.steps.filter((pl.col("run_id") == run_id) & (pl.col("epoch") <= 4))
    total = weight = 0.0
    for row in rows.iter_rows(named=True):
        total += row["steps_since"] * math.log(row["fisher/cond"])
        weight += row["steps_since"]
    assert found["value"][3] == pytest.approx(math.exp(total / weight), rel=1e-12)
    mean = run_measures.at_epoch(source, "cond_mean@floor", 4)
    recorded = run_measures.at_epoch(source, "fisher/cond_mean", 4)
    both = mean.join(recorded, on="run_id")
    np.testing.assert_allclose(both["value"], both["value_right"], rtol=1e-12)
    assert run_measures.at_epoch(source, "cond_m8_mean", 2)["value"].is_between(4, 16).all()


def test_energy_over_its_null_is_flat_for_planted_density(sweep: Path) -> None:
    source = settings_of(sweep)
    found = source.frame.join(run_measures.at_epoch(source, "energy_density", 5), on="run_id")
    truth = Truth()
    for row in found.iter_rows(named=True):
        expected = 2 ** (1 + truth.density_slopes @ np.log2([row["batch_size"], row["lr"]]))
        assert row["value"] == pytest.approx(expected, rel=6 * truth.seed_noise)


def naive_nearest(points, values, at, paper):
    out = []
    for place in at:
        pairs = sorted((math.dist(place, p), k) for k, p in enumerate(points))[:5]
        inverse = sum(1 / d for d, _ in pairs)
        if paper:
            out.append(sum((1 / d + 1) / (1 + inverse) * values[k] for d, k in pairs))
        else:
            out.append(sum(values[k] / d for d, k in pairs) / inverse)
    return out


@pytest.mark.parametrize("paper", [False, True])
def test_nearest_surface_against_a_loop(paper: bool) -> None:
    numbers = np.random.default_rng(0)
    points, values, at = numbers.random((12, 2)), numbers.random(12), numbers.random((30, 2))
    np.testing.assert_allclose(
        surface.nearest(points, values, at, paper=paper), naive_nearest(points, values, at, paper), rtol=1e-12
    )


def test_surfaces_on_a_point() -> None:
    points, values = np.random.default_rng(1).random((8, 2)), np.arange(8.0)
    np.testing.assert_array_equal(surface.nearest(points, values, points), values)
    assert np.isnan(surface.nearest(points, values, points, paper=True)).all()


def test_process_covers_what_it_did_not_see() -> None:
    """80 % intervals of a smooth function with noise cover the function at new places."""
    inside = total = 0
    for draw in range(20):
        numbers = np.random.default_rng(draw)
        points, at = numbers.random((25, 2)), numbers.random((20, 2))

        def truth(p):
            return np.sin(3 * p[:, 0]) + p[:, 1] ** 2

        mean, deviation = GaussianProcess.fit(points, truth(points) + 0.05 * numbers.normal(size=25)).predict(
            at
        )
        inside += int(np.sum(np.abs(mean - truth(at)) <= 1.2816 * deviation))
        total += len(at)
    assert 0.65 <= inside / total <= 0.97


def test_left_out_comparison_prefers_what_predicts(sweep: Path) -> None:
    found = landscape(sweep)
    errors = dict(found.comparison.select("method", "rmse").iter_rows())
    assert found.method == ("process" if errors["process"] < errors["nearest"] else "nearest")
    assert min(errors["process"], errors["nearest"]) < errors["mean"]
    for method in ("nearest", "process", "paper"):
        x, y, value, deviation = found.contour(method, 11)
        assert value.shape == deviation.shape == (11, 11)
        assert x[0] == pytest.approx(found.surface_settings["x"].min())
        assert y[-1] == pytest.approx(found.surface_settings["y"].max())
        assert method == "paper" or np.isfinite(value).all()
        assert (method == "process") == bool(np.isfinite(deviation).all())


def test_bad_input_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match=r"no run.*empty"):
        landscape(tmp_path)
    (tmp_path / "photo.png").touch()
    with pytest.raises(AnalysisError, match=r"holds photo\.png"):
        landscape(tmp_path)
    with pytest.raises(FileNotFoundError):
        landscape(tmp_path / "absent")
    with fs.open_run(tmp_path / "one", {"hello": 1}) as run:
        run.log_epoch(val_error=0.1)
    with pytest.raises(AnalysisError, match="none has a batch size"):
        landscape(tmp_path)


def test_few_runs_are_shown_without_a_surface(tmp_path: Path) -> None:
    write(tmp_path, Truth(batch_sizes=(8,), lrs=(0.1,), seeds=1, epochs=2))
    found = landscape(tmp_path)
    assert len(found.points) == len(found.best) == 1
    assert "One seed" in str(found)
    assert "too few for a surface" in str(found)


def test_all_diverged(tmp_path: Path) -> None:
    write(
        tmp_path,
        Truth(batch_sizes=(8, 16), lrs=(0.1,), seeds=1, epochs=4, diverged=("s8-lr0.1", "s16-lr0.1")),
    )
    found = landscape(tmp_path)
    assert not len(found.best)
    assert not len(found.surface_settings)
    assert "diverged" in str(found)


def test_mixed_tasks_are_named(tmp_path: Path) -> None:
    small = {"batch_sizes": (8,), "lrs": (0.1,), "seeds": 1, "epochs": 2}
    write(tmp_path / "a", Truth(task="a/mlp", **small))
    write(tmp_path / "b", Truth(task="b/mlp", **small))
    with pytest.raises(AnalysisError, match=r"several tasks, a/mlp \(1 runs\), b/mlp"):
        landscape(tmp_path)
    assert landscape(tmp_path, task="b/mlp").task == "b/mlp"


def test_missing_metric_says_which_columns_there_are(sweep: Path) -> None:
    with pytest.raises(AnalysisError, match=r"val/error"):
        landscape(sweep, metric="val/f1")


def test_one_diverged_seed_takes_its_setting_off_the_surface(tmp_path: Path) -> None:
    write(tmp_path, Truth(batch_sizes=(8, 16), lrs=(0.05, 0.1), seeds=1, epochs=4))
    config = {"task": "planted/task", "batch_size": 8, "lr": 0.1, "epochs": 4, "seed": 1}
    with fs.open_run(tmp_path / "second", config) as run:
        run.log_epoch(epoch=1, val_error=0.5)
        run.finish("diverged", "the loss is not finite")
    assert "s8-lr0.1" not in landscape(tmp_path).surface_settings["setting"].to_list()
