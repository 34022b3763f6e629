"""Files of others: ordinary ones only, bounded in size and depth."""

from __future__ import annotations

import json
import os
import signal
import warnings
from pathlib import Path

import pytest

import fisherscope as fs
from fisherscope.bounded_reading import DEEPEST, parse_json, read_bytes, read_log


@pytest.fixture(autouse=True)
def _no_waiting() -> object:
    signal.alarm(20)
    yield
    signal.alarm(0)


@pytest.mark.parametrize("kind", ["pipe", "device", "directory", "link to a device", "huge", "endless line"])
def test_what_is_no_ordinary_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "directory":
        path.mkdir()
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)
    with pytest.raises(OSError, match=r"expected|hold no complete row"):
        (read_log if kind == "endless line" else read_bytes)(path)


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


def test_depth_is_bounded_and_said() -> None:
    assert parse_json(nested(DEEPEST)) == json.loads(nested(DEEPEST))
    for levels in (DEEPEST + 1, 500, 3000, 200_000):
        with pytest.raises(ValueError, match="nested deeper than"):
            parse_json(nested(levels))


@pytest.mark.parametrize(
    "name", ["run.json", "epochs.jsonl", "steps.jsonl", "lock", "spectra.bin", "outcomes.npz"]
)
@pytest.mark.parametrize("kind", ["pipe", "zero", "deep", "sparse"])
def test_no_file_of_a_run_hides_the_other_runs(tmp_path: Path, name: str, kind: str) -> None:
    for run_id in ("good", "bad"):
        with fs.open_run(tmp_path / run_id, {"batch_size": 8, "lr": 0.1}) as run:
            run.log_step({"step": 0}, [2.0, 1.0])
            run.log_epoch(val_error=0.1)
    path = tmp_path / "bad" / name
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    elif kind == "deep":
        path.write_text('{"epoch":1,"step":0,"x":' + nested(3000) + "}\n")
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        runs = fs.load_runs(tmp_path)
        assert "good" in runs.runs["run_id"].to_list()
        assert "good" in runs.epochs["run_id"].to_list()
        assert "good" in runs.steps["run_id"].to_list()
    assert runs.spectra("good")[0].tolist() == [2.0, 1.0]
    if name == "spectra.bin" and kind in (
        "pipe",
        "zero",
    ):  # other bytes are seen on resuming, by the checksum
        with pytest.raises(fs.runs.DamagedRunError):
            runs.spectra("bad")
    elif name == "outcomes.npz":
        with pytest.raises(fs.runs.DamagedRunError):
            runs.outcomes("bad")
    elif name not in ("lock", "spectra.bin"):
        assert any(path.parent == damaged.parent for damaged in runs.damaged)


def test_names_that_are_no_text_and_links(tmp_path: Path) -> None:
    with fs.open_run(tmp_path / "elsewhere", {"seed": 0}) as run:
        run.log_epoch(val_error=0.1)
    odd = Path(os.fsdecode(os.fsencode(tmp_path / "root") + b"/a\xff\xfe"))
    with fs.open_run(odd, {"seed": 1}) as run:
        run.log_epoch(val_error=0.2)
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.warns(RuntimeWarning, match="link to a run and not followed"):
        runs = fs.load_runs(tmp_path / "root")
    assert list(runs.paths) == ["a\\xff\\xfe"]
    assert runs.epochs["val/error"].to_list() == [0.2]
    with pytest.warns(RuntimeWarning, match="not followed"):
        fs.export_runs(tmp_path / "root", tmp_path / "e.zip")
    assert list(fs.load_runs(tmp_path / "e.zip").paths) == ["a\\xff\\xfe"]
