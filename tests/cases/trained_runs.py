"""Small runs, what they wrote, and real processes that are killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

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
