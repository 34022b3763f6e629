"""Runs are right, resumable bit for bit, and clear about what went wrong."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from tests.cases.trained_runs import SMALL, assert_same_run, killed_at, rows, state

import fisherscope as fs
from fisherscope.sweep import pending
from fisherscope.training import Configuration, train

KILLS = int(os.environ.get("FISHERSCOPE_KILLS", "3"))
"""How often a real process is killed in a run; experiments/results/crash.json is of 50."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    return train(SMALL, tmp_path_factory.mktemp("whole")).path


def test_a_run_is_recorded(whole: Path) -> None:
    found = fs.load_runs(whole.parent)
    assert found.runs["status"].to_list() == ["finished"]
    assert found.runs["policy"].to_list() == ["s32"]
    epochs = found.epochs
    assert epochs["epoch"].to_list() == [1, 2, 3]
    assert epochs["train/loss"][2] < epochs["train/loss"][0]
    assert epochs["val/error"][2] < 0.3
    assert epochs["samples"].to_list() == [300, 600, 900]
    # decay at 50 % and 75 %: in the middle of the second of three epochs, and of the third
    assert epochs["lr"].to_list() == pytest.approx([0.05, 0.005, 0.0005])
    assert epochs["batch_size"].to_list() == [32, 32, 32]  # as decided, though an epoch's last batch has 12
    steps = found.steps
    assert steps["step"][0] == 0
    assert len(steps) == -(-30 // 4)
    assert steps.filter(pl.col("status") != "ok").is_empty()
    assert [len(s) for s in found.spectra(whole.name)] == steps["batch_size"].to_list()
    outcomes = found.outcomes(whole.name)
    assert float(outcomes["test_error"].mean()) == pytest.approx(epochs["test/error"][2])


def test_an_epoch_s_row_has_its_own_rate_and_not_the_next_one_s(tmp_path: Path) -> None:
    path = train(SMALL | {"epochs": 4, "measure": False}, tmp_path).path
    found = [(row["lr"], row["step"], row["batch_size"]) for row in rows(path, "epochs.jsonl")]
    assert found == [
        (0.05, 10, 32),
        (0.05, 20, 32),
        (pytest.approx(0.005), 30, 32),
        (pytest.approx(5e-4), 40, 32),
    ]


def test_asked_for_again_a_finished_run_is_left_alone(whole: Path) -> None:
    before = {path.name: path.read_bytes() for path in whole.iterdir() if path.name != "lock"}
    assert train(SMALL, whole.parent).status == "finished"
    assert before == {path.name: path.read_bytes() for path in whole.iterdir() if path.name != "lock"}


def test_stopping_early_keeps_the_schedule_and_goes_on(whole: Path, tmp_path: Path) -> None:
    stopped = train(SMALL, tmp_path, until=1)
    assert (stopped.status, stopped.epochs) == ("interrupted", 1)
    assert rows(stopped.path, "epochs.jsonl") == rows(whole, "epochs.jsonl")[:1]
    assert train(SMALL, tmp_path).status == "finished"
    assert_same_run(stopped.path, whole)


def test_measuring_changes_nothing(whole: Path, tmp_path: Path) -> None:
    bare = train(SMALL | {"measure": False}, tmp_path).path
    for name, value in state(bare)["model"].items():
        assert torch.equal(value, state(whole)["model"][name]), name


@pytest.mark.parametrize("task", ["digits/mlp", "digits/resnet8"])
def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(
    task: str, tmp_path: Path, record_testsuite_property: Any
) -> None:
    config = SMALL | {"task": task, "batch_size": 8, "epochs": 6 * KILLS, "policy": "s8-to-32"}
    alone = train(config, tmp_path / "alone").path
    draw, hits, saving = random.Random(0), 0, 0
    for _ in range(KILLS):
        assert killed_at(tmp_path / "killed", config, draw.uniform(0.0, 0.15))
        done = sum(log.read_text().count("\n") for log in (tmp_path / "killed").glob("*/epochs.jsonl"))
        hits += done < config["epochs"] - 1  # not waiting before the last epoch
        saving += any((tmp_path / "killed").glob("*/.checkpoint.pt.*"))
    record_testsuite_property(task, f"{hits} while training, {saving} of them while saving")
    assert hits > 0
    assert train(config, tmp_path / "killed").status == "finished"
    assert_same_run(next((tmp_path / "killed").iterdir()), alone)


def test_an_interrupt_saves_and_says_so(tmp_path: Path) -> None:
    config = SMALL | {"batch_size": 4, "epochs": 20_000}  # an hour: it is training when the signal comes
    assert killed_at(tmp_path, config, 0.1, signal.SIGINT)
    head = json.loads(next(tmp_path.glob("*/run.json")).read_text())
    assert head["status"] == "interrupted"
    assert "SIGINT" in head["reason"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_does_not_cut_a_runs_end_in_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    came: list[int] = []
    finish = fs.runs.Run.finish

    def late(run: fs.runs.Run, *told: Any) -> None:
        signal.raise_signal(number)
        finish(run, *told)

    monkeypatch.setattr(fs.runs.Run, "finish", late)
    before = signal.signal(number, lambda *_: came.append(number))
    try:
        assert train(SMALL, tmp_path).status == "finished"
        assert came == []
        signal.raise_signal(number)
        assert came == [number]  # whoever listened before does so again
    finally:
        signal.signal(number, before)


def test_a_reader_of_the_progress_that_goes_away_leaves_a_run_that_goes_on(tmp_path: Path) -> None:
    words = ["train", "digits/mlp", "--batch-size", "64", "--epochs", "20000", "--out", str(tmp_path)]
    process = subprocess.Popen([sys.executable, "-m", "fisherscope", *words], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"epoch 1 ")
    process.stdout.close()  # as `| head -1` does; the run would take an hour
    assert process.wait(timeout=60) == 1
    (path,) = tmp_path.iterdir()
    head = json.loads((path / "run.json").read_text())
    assert head["status"] == "interrupted"
    assert "whoever read its progress" in head["reason"]
    done = len(rows(path, "epochs.jsonl"))
    config = {"task": "digits/mlp", "batch_size": 64, "epochs": 20000}
    assert train(config, tmp_path, until=done + 1).epochs == done + 1
    assert len(rows(path, "epochs.jsonl")) == done + 1


def test_a_diverging_run_keeps_what_it_measured(tmp_path: Path) -> None:
    result = train(SMALL | {"lr": 1e4}, tmp_path)
    assert result.status == "diverged"
    assert "nan" in result.reason
    assert rows(result.path, "steps.jsonl")[0]["step"] == 0


def test_a_run_is_not_put_into_another(whole: Path) -> None:
    with pytest.raises(fs.runs.RunError, match="is a run itself; give the directory above it"):
        train(SMALL, whole)
    assert not [path for path in whole.iterdir() if path.is_dir()]


@pytest.mark.parametrize("place", ["a file", "below/a file", "x" * 300])
def test_a_place_that_can_hold_no_runs_is_told(place: str, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    place = place.replace("below/a file", "a file/below")
    with pytest.raises(fs.runs.RunError, match="give another directory"):
        train(SMALL, tmp_path / place)


def spoilt(state: dict[str, Any], how: str) -> dict[str, Any]:
    if how == "a part is missing":
        return {key: value for key, value in state.items() if key != "sampler"}
    return state | {"model": {name: value[:3] for name, value in state["model"].items()}}


@pytest.mark.parametrize("how", ["a part is missing", "another model"])
def test_a_checkpoint_that_does_not_fit_is_told(how: str, tmp_path: Path) -> None:
    path = train(SMALL, tmp_path, until=1).path
    held = torch.load(path / "checkpoint.pt", weights_only=True)
    torch.save(held | {"state": spoilt(held["state"], how)}, path / "checkpoint.pt")
    with pytest.raises(fs.runs.RunError, match=r"does not fit what digits/mlp makes now .*delete"):
        train(SMALL, tmp_path)
    assert len(rows(path, "epochs.jsonl")) == 1


def test_a_run_recorded_under_a_device_number_is_found_and_resumed(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Configuration.of(SMALL)
    with monkeypatch.context() as patch:  # as version 0.1 recorded it
        patch.setattr(Configuration, "identity", Configuration.model_dump)
        path = train(SMALL | {"device": "cpu:0"}, tmp_path, until=1).path
    assert path.name != config.id
    assert pending([config], tmp_path) == [config]
    assert train(config, tmp_path).path == path
    assert_same_run(path, whole)
    assert pending([config], tmp_path) == []
    assert train(SMALL | {"device": "cpu:0"}, tmp_path).status == "finished"
    assert [child.name for child in tmp_path.iterdir()] == [path.name]
