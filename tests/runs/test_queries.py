"""Questions about one run directory agree with what `load_runs` says, and with the files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import fisherscope as fs
from fisherscope.runs import DamagedRunError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A run with two epochs, left without being closed by `finish`."""
    run = fs.open_run(tmp_path / "a", {"seed": 3})
    run.log_epoch(val_error=0.5)
    run.log_epoch(val_error=0.25)
    run.close()
    return tmp_path / "a"


@pytest.mark.parametrize("status", ["finished", "diverged", "interrupted", "failed"])
def test_status_is_that_of_the_reader(status: str, path: Path) -> None:
    assert fs.runs.status(path) == "interrupted"  # nobody writes it
    assert not fs.runs.has_ended(path)
    with fs.open_run(path) as run:
        assert (fs.runs.status(path), run.status) == ("running", "interrupted")
        run.load_checkpoint()
        assert fs.runs.status(path) == "running"
        run.finish(status)
    assert fs.runs.status(path) == fs.load_runs(path).runs["status"][0] == status
    assert fs.runs.has_ended(path) == (status in ("finished", "diverged"))


def test_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    assert (fs.runs.status(absent), fs.runs.epoch_rows(absent), fs.runs.is_run(absent)) == (None, [], False)
    assert not fs.runs.has_ended(absent)
    assert list(fs.runs.run_directories(absent)) == []
    with pytest.raises(FileNotFoundError):
        fs.runs.run_config(absent)


def test_epoch_rows_leave_out_a_torn_line_and_name_a_damaged_one(path: Path) -> None:
    rows = [{"epoch": 1, "val/error": 0.5}, {"epoch": 2, "val/error": 0.25}]
    with (path / "epochs.jsonl").open("ab") as file:
        file.write(b'{"epoch":3,"val')
    assert fs.runs.epoch_rows(path) == rows
    with (path / "epochs.jsonl").open("ab") as file:
        file.write(b"\n")
    with pytest.raises(DamagedRunError, match=r"epochs\.jsonl: damaged"):
        fs.runs.epoch_rows(path)


def test_a_damaged_head_is_an_error_and_its_config_is_read_otherwise(path: Path) -> None:
    assert fs.runs.run_config(path) == {"seed": 3}
    (path / "run.json").write_text("{")
    for question in (fs.runs.status, fs.runs.has_ended, fs.runs.run_config):
        with pytest.raises(DamagedRunError, match="not JSON"):
            question(path)


def test_the_fingerprint_changes_with_what_readers_show(path: Path) -> None:
    before = fs.runs.fingerprint(path.parent)
    assert before == fs.runs.fingerprint(path.parent)
    (path / "log.txt").write_text("not shown")
    assert fs.runs.fingerprint(path.parent) == before
    head = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**head, "reason": "another"}))
    assert fs.runs.fingerprint(path.parent) != before


def test_run_directories_are_found_at_any_depth_in_order(tmp_path: Path) -> None:
    for name in ("b/x", "a", "b/.hidden/y"):
        fs.open_run(tmp_path / name, {}).close()
    assert [str(path.relative_to(tmp_path)) for path in fs.runs.run_directories(tmp_path)] == ["a", "b/x"]
