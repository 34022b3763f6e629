"""`fisherscope diagnose`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import fisherscope as fs
from fisherscope.cli.diagnose import diagnose


def test_each_run_is_listed_and_text_stays_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with fs.open_run(tmp_path / "bad", {"seed": 0}) as run:
        run.finish("diverged", "loss \x1b[31mnan")
    with fs.open_run(tmp_path / "good", {"seed": 1, "measure": False}) as run:
        run.log_epoch(epoch=1, val_loss=0.5)
    diagnose(tmp_path)
    text = capsys.readouterr().out
    assert "bad (diverged): 1 error, 1 warning" in text
    assert "error: The run diverged: loss \\u001b[31mnan. Lower the learning rate" in text
    assert "good (finished): nothing is wrong that its rows show" in text
    diagnose(tmp_path, as_json=True)
    found = {each["run_id"]: each for each in json.loads(capsys.readouterr().out)}
    assert found["bad"]["findings"][0]["evidence"]["status"] == "diverged"
    assert found["good"]["findings"] == []


def test_a_directory_without_runs_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no run"):
        diagnose(tmp_path)


def test_a_damaged_run_hides_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("bad", "good"):
        with fs.open_run(tmp_path / name, {"seed": 0, "measure": False}) as run:
            run.log_epoch(epoch=1, val_loss=0.5)
    (tmp_path / "bad" / "epochs.jsonl").write_text("{]\n{}\n")
    with pytest.warns(RuntimeWarning, match="damaged"):
        diagnose(tmp_path)
    text = capsys.readouterr().out
    assert "bad (finished): 1 error" in text
    assert "good (finished): nothing is wrong" in text
