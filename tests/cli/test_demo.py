"""`demo` on a task of seconds: what it trains, what it prints, and that a second call trains nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

import fisherscope as fs
from fisherscope.cli import demo

SMALL = {"task": "digits/mlp", "epochs": 4, "per_epoch": 2, "limit_train": 96}


def test_the_demo_trains_steers_and_writes_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "TASK_WITHOUT_SEEDS", SMALL)
    grid = {**SMALL, "seeds": [0, 1], "batch_sizes": [8, 32], "lrs": [0.02, 0.1]}
    monkeypatch.setattr(demo, "GRID", grid)
    monkeypatch.setattr(demo, "SCHEDULES", {**SMALL, "seeds": [0], "policies": ["s8-to-32"], "lrs": [0.05]})
    demo.demo(out=tmp_path, jobs=1)
    first = capsys.readouterr().out
    assert "Training 8 runs of digits/mlp, fixed settings" in first
    assert "steered by the fixed ones as beacons" in first
    assert f"Open {tmp_path / 'report.html'} in a browser" in first
    policies = fs.load_runs(tmp_path / "runs").runs["policy"].to_list()
    assert sum(policy.startswith("beacon:") for policy in policies) == 1
    page = (tmp_path / "report.html").read_text()
    assert "beacon:beacons.json@" in page  # a setting's name has no path of this machine
    demo.demo(out=tmp_path, jobs=1)
    assert capsys.readouterr().out.count("Training 0 runs") == 3
