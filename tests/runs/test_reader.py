"""Reading runs that are being written, damaged or absent."""

from __future__ import annotations

import warnings

import numpy as np
import polars as pl
import pytest
import torch
from tests.cases.toy_run import CONFIG

import fisherscope as fs
from fisherscope.runs import DamagedRunError, RunError


def test_reading_a_run_that_is_being_written(tmp_path, writer):
    lengths = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        while len(set(lengths)) < 4 or lengths[-1] < 5000:  # it writes for as long as it is read
            assert writer.poll() is None, "the writer has died"
            runs = fs.load_runs(tmp_path)
            steps = runs.steps["step"].to_list()
            assert steps == list(range(len(steps)))
            for step, values in zip(steps, runs.spectra("busy"), strict=True):
                assert values[1] == step
            lengths.append(len(steps))
    assert lengths == sorted(lengths)


@pytest.fixture
def damaged(tmp_path):
    """A good run, and one to be damaged; both interrupted after a checkpoint."""
    for name in ("good", "bad"):
        with fs.open_run(tmp_path / name, CONFIG) as run:
            for step in range(5):
                run.log_step({"step": step, "x": 1.0}, [1.0, 2.0])
            run.log_epoch(step=5, val_error=0.5)
            run.log_outcomes(loss=np.ones(50))
            run.save_checkpoint({"step": 5, "weights": torch.ones(2000)})
            run.finish("interrupted")
    return tmp_path


def middle(data):
    return data[: len(data) // 2] + b"\0\0\0\0" + data[len(data) // 2 + 4 :]


@pytest.mark.parametrize("name", ["steps.jsonl", "epochs.jsonl", "run.json", "checkpoint.pt", "outcomes.npz"])
@pytest.mark.parametrize("how", [middle, lambda data: data[: len(data) // 2], lambda data: b""])
def test_a_damaged_file_is_named_and_left_as_it_is(damaged, name, how):
    path = damaged / "bad" / name
    harmed = how(path.read_bytes())
    path.write_bytes(harmed)
    lost_rows_only = name.endswith("jsonl") and b"\0" not in harmed  # for a reader a run that has fewer rows
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        runs = fs.load_runs(damaged)
        assert "good" in runs.paths
        assert runs.steps.filter(run_id="good").height == 5
        assert runs.epochs.filter(run_id="good").height == 1
    if name in ("steps.jsonl", "epochs.jsonl", "run.json") and not lost_rows_only:
        assert [str(path)] == [str(place) for place in runs.damaged]
        assert any(str(path) in str(warning.message) for warning in said)
    if name == "outcomes.npz":
        with pytest.raises(DamagedRunError, match=str(path)):
            runs.outcomes("bad")
    elif b"\0\0\0\0" not in harmed or not name.endswith("jsonl"):
        with pytest.raises(DamagedRunError, match=name):  # noqa: PT012  (either may find it)
            run = fs.open_run(damaged / "bad", CONFIG)
            try:
                run.load_checkpoint()
            finally:
                run.close()
    assert path.read_bytes() == harmed


def test_measurements_without_their_head_are_not_taken_for_a_new_run(damaged):
    (damaged / "bad" / "run.json").unlink()
    with pytest.raises(DamagedRunError, match=r"measurements but no run\.json"):
        fs.open_run(damaged / "bad", CONFIG)
    assert len(fs.load_runs(damaged)) == 1


def test_spectra_that_are_missing_are_named(damaged):
    path = damaged / "bad" / "spectra.bin"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DamagedRunError, match=r"spectra\.bin.*\(9 values\)"):
        fs.load_runs(damaged).spectra("bad")


def test_places_that_are_not_runs(tmp_path):
    fs.open_run(tmp_path / "runs" / "a", CONFIG).close()
    with pytest.raises(RunError, match="holds runs, such as a"):
        fs.open_run(tmp_path / "runs", CONFIG)
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="it is a file"):
        fs.open_run(tmp_path / "file", CONFIG)
    with pytest.raises(RunError, match="neither a directory nor a complete export"):
        fs.load_runs(tmp_path / "file")
    with pytest.raises(FileNotFoundError, match="there is no"):
        fs.load_runs(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    runs = fs.load_runs(tmp_path / "empty")
    assert (len(runs), runs.steps.columns, runs.runs.columns[:2]) == (
        0,
        ["run_id", "step"],
        ["run_id", "path"],
    )
    with pytest.raises(KeyError, match="; near: a"):
        fs.load_runs(tmp_path).outcomes("aa")


def test_runs_of_one_name_in_two_experiments_are_told_apart(tmp_path):
    for place in ("x/a", "y/a", "y/b"):
        with fs.open_run(tmp_path / place, CONFIG) as run:
            run.log_epoch(val_error=len(place))
    runs = fs.load_runs(tmp_path)
    assert runs.runs["run_id"].to_list() == ["x/a", "y/a", "b"]
    assert len(fs.load_runs([tmp_path / "x", tmp_path / "y" / "b"])) == 2
    part = runs.filter(pl.col("run_id").str.starts_with("y"))
    assert part.epochs["run_id"].to_list() == ["y/a"]
    assert repr(part) == "<Runs: 1; 1 finished>"
