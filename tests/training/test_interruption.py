"""Interrupted work: the exit codes of shells, one event sent twice, and Ctrl-C while loading."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import fisherscope as fs
from fisherscope.training.interruption import SAME_EVENT_SECONDS, deferred_signals

LONG = ["digits/mlp", "--batch-size", "8", "--epochs", "20000"]
SLOW_TASK = """
import time
import fisherscope as fs
def factory():
    print("loading", flush=True)
    time.sleep(60)
    return fs.tasks.get("digits/mlp")
"""


def started(*words: str, until: Callable[[], bool], folder: Path) -> subprocess.Popen[str]:
    """Start a command in a group of its own, and wait until something holds."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fisherscope", *words], cwd=folder, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while process.poll() is None and not until():
        time.sleep(0.02)
    return process


def head(folder: Path) -> dict[str, object]:
    (path,) = folder.glob("runs/*/run.json")
    found: dict[str, object] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_with_epochs_left_exits_as_shells_expect(tmp_path: Path, number: signal.Signals) -> None:
    trained = lambda: any(tmp_path.glob("runs/*/epochs.jsonl"))  # noqa: E731
    process = started("train", *LONG, until=trained, folder=tmp_path)
    for _ in range(3):  # one event, delivered again and again: by the terminal, a batch system, a parent
        os.killpg(process.pid, number)
        time.sleep(0.05)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert "Run the same command to resume." in out
    assert "Traceback" not in errors
    assert head(tmp_path)["status"] == "interrupted"
    assert number.name in str(head(tmp_path)["reason"])
    assert list(tmp_path.glob("runs/*/checkpoint.pt")), "it was saved, although the signal came three times"


@pytest.mark.parametrize("resumed", [False, True])
def test_ctrl_c_while_loading_stops_at_once(tmp_path: Path, resumed: bool) -> None:
    (tmp_path / "slow.py").write_text(SLOW_TASK)
    words = ["train", "slow.py:factory", "--batch-size", "8", "--epochs", "3"]
    if resumed:  # a run that exists is loaded under its lock
        from fisherscope.training import Configuration

        values = {"task": "slow.py:factory", "batch_size": 8, "epochs": 3}
        config = Configuration.of(values)
        with fs.open_run(tmp_path / "runs" / config.id, config.identity()) as run:
            run.finish("interrupted", "by hand")
    process = started(*words, until=lambda: True, folder=tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "loading\n"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=50)
    assert time.monotonic() - began < 30, "it would have loaded for a minute"
    assert process.returncode == 130
    assert "Traceback" not in errors
    if resumed:
        assert head(tmp_path)["status"] == "interrupted"


def test_a_group_s_signal_to_a_sweep_loses_nothing(tmp_path: Path) -> None:
    """As `timeout` sends it: to every process, and the parent passes it on."""
    words = ["sweep", "digits/mlp", "--batch-sizes", "8,16,32", "--epochs", "20000", "--jobs", "2"]
    trained = lambda: len(list(tmp_path.glob("runs/*/epochs.jsonl"))) == 2  # noqa: E731
    process = started(*words, until=trained, folder=tmp_path)
    os.killpg(process.pid, signal.SIGTERM)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 143
    assert "Traceback" not in errors
    assert "tried once more" not in out
    assert "retried" not in out
    assert "3 runs are left" in out
    heads = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/run.json")]
    assert [one["status"] for one in heads] == ["interrupted"] * 2
    assert all("SIGTERM" in one["reason"] for one in heads)
    assert len(list(tmp_path.glob("runs/*/checkpoint.pt"))) == 2


def test_a_signal_much_later_is_another_event() -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        with deferred_signals() as interruption:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert came == []
            interruption.came -= SAME_EVENT_SECONDS + 1
            signal.raise_signal(signal.SIGTERM)
            assert came == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (interruption.reason, interruption.number) == ("SIGTERM", 15)
