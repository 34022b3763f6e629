"""`times`: seconds a step beside real runs, and what the other verbs make of them."""

from __future__ import annotations

from pathlib import Path

import pytest

import fisherscope as fs
from fisherscope import analysis
from fisherscope.analysis.data.cost_estimation import cost_model
from fisherscope.analysis.data.run_times import run_times
from fisherscope.cli.times import times
from fisherscope.sweep import Grid, run_sweep

SETTINGS = {"epochs": 2, "limit_train": 96, "per_epoch": 1}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("timed")
    grid = Grid("digits/mlp", (8, 32), (0.05, 0.1), policies=("s8-to-32",), settings=SETTINGS)
    run_sweep(grid, place, jobs=1)
    return place


def test_seconds_beside_the_runs_take_the_place_of_process_times(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = cost_model(fs.load_runs(root))
    assert before is not None
    assert before.kind == "process"
    assert set(before.sizes) >= {8.0, 32.0}
    fs.export_runs(root, tmp_path / "all.zip")
    for place in (root, tmp_path / "all.zip"):
        times(place, rounds=3, sizes=None, device=None, data_dir=None)
        printed = capsys.readouterr().out
        assert "digits/mlp: timing steps at 8, 16, 32, 3 rounds" in printed
        model = cost_model(fs.load_runs(place))
        assert model is not None
        assert (model.kind, model.sizes.tolist()) == ("interleaved", [8.0, 16.0, 32.0])
        assert run_times(fs.load_runs(place)).frame["seconds"].null_count() == 0
        assert "measured in turn over all sizes (cpu, 1 thread" in str(analysis.select(place))
    assert len(fs.load_runs(tmp_path / "all.zip")) == 6


def test_what_cannot_be_timed_says_why(tmp_path: Path) -> None:
    with fs.open_run(tmp_path / "mine", {"batch_size": 8, "lr": 0.1, "seed": 0}) as run:
        run.log_epoch(val_error=0.1)
    with pytest.raises(ValueError, match="none was trained by fisherscope"):
        times(tmp_path, rounds=3, sizes=None, device=None, data_dir=None)
    with pytest.raises(ValueError, match="at least 3"):
        times(tmp_path, rounds=2, sizes=None, device=None, data_dir=None)
