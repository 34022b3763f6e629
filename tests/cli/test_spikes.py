"""`fisherscope spikes`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import fisherscope as fs
from fisherscope.cli.spikes import spikes


def test_spikes_of_runs_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with fs.open_run(tmp_path / "calm", {"seed": 0}):
        pass
    row = {
        "step": 7, "norm": 120.0, "usual_norm": 1.5, "limit": 3.0, "blame": "replayed",
        "blamed_samples": [{"sample": "cat\x1b[31m.png", "explained": 0.97}],
        "layers": [{"parameter": "head.weight", "explained": None}],
    }  # fmt: skip
    with fs.open_run(tmp_path / "spiked", {"seed": 1}) as run:
        run.log_spike({**row, "step": 9})
        run.log_spike(row)  # a run that was resumed
    spikes(tmp_path)
    text = capsys.readouterr().out
    assert "spiked: 1 spikes" in text
    assert "step 7: gradient norm 120, usual 1.5, limit 3; replayed" in text
    assert "(97%)" in text
    assert "layers: head.weight (not finite)" in text
    assert "calm" not in text
    spikes(tmp_path / "spiked", as_json=True)
    assert json.loads(capsys.readouterr().out)[str(tmp_path / "spiked")][0]["step"] == 7
    spikes(tmp_path / "calm")
    assert "No spikes are recorded" in capsys.readouterr().out


def test_a_restart_drops_the_spikes_and_a_directory_without_runs_is_told(tmp_path: Path) -> None:
    with fs.open_run(tmp_path / "run", {"seed": 0}) as run:
        run.log_spike({"step": 7})
    with fs.open_run(tmp_path / "run", {"seed": 0}, restart=True):
        pass
    assert fs.runs.spikes(tmp_path / "run") == []
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="there is no run"):
        spikes(tmp_path / "none")
