"""Beacons of finished runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from fisherscope.analysis import AnalysisError, beacons_of, export_runs, landscape
from fisherscope.training import train

SWEEP = Path(__file__).parents[2] / "experiments" / "results" / "sweeps" / "digits-mlp.zip"


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
