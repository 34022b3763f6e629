"""Runs trained from a configuration: right, resumable bit for bit, and clear about mistakes."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import random
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

import fisherscope as fs
from fisherscope.training import Configuration, ConfigurationError, train

KILLS = int(os.environ.get("FISHERSCOPE_KILLS", "3"))
"""How often a real process is killed in a run; experiments/results/crash.json is of 50."""
SMALL = {"task": "digits/mlp", "batch_size": 32, "lr": 0.05, "epochs": 3, "every": 4, "threads": 1}


def rows(path: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a log but for their times."""
    lines = (path / name).read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.startswith("time/")} for line in lines]


def state(path: Path) -> dict[str, Any]:
    held: dict[str, Any] = torch.load(path / "checkpoint.pt", weights_only=True)["state"]
    return held


def assert_same_run(one: Path, other: Path) -> None:
    """Parameters, momentum, steps, spectra, epochs and outcomes are equal bit for bit."""
    a, b = state(one), state(other)
    for name, value in a["model"].items():
        assert torch.equal(value, b["model"][name]), name
    for number, slots in a["optimizer"]["state"].items():
        for key, value in slots.items():
            assert torch.equal(value, b["optimizer"]["state"][number][key]), (number, key)
    assert torch.equal(a["random"]["torch"], b["random"]["torch"])
    for log in ("steps.jsonl", "epochs.jsonl"):
        assert rows(one, log) == rows(other, log), log
    assert (one / "spectra.bin").read_bytes() == (other / "spectra.bin").read_bytes()


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


CODE = """
import sys, time
from fisherscope.training import train

def begun(session, row):
    if not begun.told:
        begun.told = True
        print("begun", flush=True)
    if row is not None and row["epoch"] == session.config.epochs - 1:
        time.sleep(600)

begun.told = False
train({config!r}, sys.argv[1], checkpoint_seconds=0.05, progress=begun)
"""
"""A run that waits before its last epoch, so that the signal finds it training on any machine."""


def killed_at(root: Path, config: dict[str, Any], moment: float, number: int = signal.SIGKILL) -> bool:
    """Kill a real process so many seconds after its first step; whether it was still training then."""
    command = [sys.executable, "-c", CODE.format(config=config), str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(moment)
        alive = process.poll() is None
        process.send_signal(number)
        try:
            process.wait(60)
        finally:
            process.kill()
    return alive


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


def test_a_terminal_shows_what_holds_now_and_an_interrupt_how_to_go_on(tmp_path: Path) -> None:
    command = ["train", "digits/mlp", "--batch-size", "2", "--epochs", "400", "--out", str(tmp_path)]
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color"}
    process = subprocess.Popen(
        [sys.executable, "-m", "fisherscope", *command], stdout=inner, stderr=inner, env=environment
    )
    os.close(inner)
    seen = read_until(outer, "\n2/400 ")  # the table in the second epoch, the first one's error in it
    before = seen[: seen.index("\n2/400 ")]  # more frames may have come with it
    *_, bar, head = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", before).rstrip("\r").split("\r\n")
    assert head.split() == ["epoch", "loss", "val", "error", "C̄", "L", "|B|", "lr", "measuring"]
    assert "digits/mlp s2 " in bar
    assert bar.rstrip().endswith("left")
    process.send_signal(signal.SIGINT)
    assert "Run the same command to resume." in read_until(outer, "to resume.")
    assert process.wait() == 0
    os.close(outer)


def read_until(terminal: int, word: str) -> str:
    """What a terminal shows up to a word, and what came with it."""
    seen = b""
    while word not in (text := seen.decode(errors="replace")):
        seen += os.read(terminal, 4096)
    return text


def test_a_diverging_run_keeps_what_it_measured(tmp_path: Path) -> None:
    result = train(SMALL | {"lr": 1e4}, tmp_path)
    assert result.status == "diverged"
    assert "nan" in result.reason
    assert rows(result.path, "steps.jsonl")[0]["step"] == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"batchsize": 3}, "did you mean 'batch_size'"),
        ({"lr": 0}, "greater than 0, received 0"),
        ({"batch_size": 301}, "301 from 300 samples"),
        ({"optimizer": "sdg"}, "did you mean 'SGD'"),
        ({"optimizer": "lbfgs"}, "expected one of torch.optim"),
        ({"augment": True}, "too small to be moved"),
        ({"policy": "s8-too-32"}, "unknown"),
        ({"device": "cuda:99"}, "cuda"),
        ({"limit_train": 301}, "has 300"),
        ({"task": "digits/resnet9"}, "digits/resnet8"),
        ({"lr": True}, "lr: expected a number, received True"),
        ({"batch_size": True}, "batch_size: expected a number"),
        ({"seed": 2**63}, "less than 9223372036854775808"),
        ({"threads": 100_000}, "less than or equal to 4096"),
        ({"policy": ""}, "expected a form such as s32"),
        ({"policy": "s8"}, "batch_size 32 and the policy s8, which begins with 8, contradict each other"),
        ({"batch-size": 8}, "did you mean 'batch_size'"),
        ({"device": "meta"}, "expected cpu, or cuda"),
    ],
)
def test_mistakes_are_told_and_write_nothing(given: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        train(SMALL | given, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_configuration_is_one_whatever_way_it_is_said() -> None:
    said = Configuration.of({"task": "digits/mlp", "batch_size": 32, "lr": 0.1})
    named = Configuration.of({"task": "digits/mlp", "policy": "s32", "lr": 0.1})
    assert said == named
    assert said.id == named.id
    with pytest.raises(ConfigurationError, match="task"):
        Configuration.of({"lr": 0.1})
    with pytest.raises(ConfigurationError, match="received str; expected a mapping"):
        Configuration.of("digits/mlp")  # type: ignore[arg-type]


def test_more_measurements_than_samples_is_every_step(tmp_path: Path) -> None:
    path = train(SMALL | {"per_epoch": 10**9, "epochs": 1}, tmp_path).path
    assert len(rows(path, "steps.jsonl")) == 10


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
