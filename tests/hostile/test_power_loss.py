"""Tails of a killed run's files turned to zeros: resumed to the same end, or refused; never silent."""

from __future__ import annotations

import random
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

import fisherscope as fs

EMULATIONS, STEPS, SAVE_EVERY = 70, 24, 5
FILES = ("steps.jsonl", "epochs.jsonl", "spectra.bin", "checkpoint.pt", "run.json", "all")
OLD_FILES = ("steps.jsonl", "epochs.jsonl")
"""What a checkpoint of version 0.1, without checksums, can answer for."""


def train(path: Path, stop: int | None = None) -> None:
    """A loop of one's own: rows, spectra, epochs and checkpoints that follow from the step alone."""
    run = fs.open_run(path, {"seed": 0})
    state: dict[str, Any] = run.load_checkpoint() or {"step": 0, "weights": torch.zeros(3)}
    for step in range(state["step"], STEPS):
        if step == stop:
            run._lock.release()  # as a killed process leaves it: rows on disk, status running
            return
        run.log_step({"step": step, "fisher/cond": 1.0 + step}, eigenvalues=[1.0 + step, 0.5])
        if step % 3 == 2:
            run.log_epoch({"step": step + 1}, val_error=1 / (1 + step))
        if step % SAVE_EVERY == SAVE_EVERY - 1:
            run.save_checkpoint({"step": step + 1, "weights": torch.full((3,), float(step))})
    run.finish()


def contents(path: Path) -> list[bytes]:
    return [(path / name).read_bytes() for name in ("steps.jsonl", "epochs.jsonl", "spectra.bin")]


def without_checksums(path: Path) -> None:
    saved = torch.load(path, weights_only=True)
    del saved["checksums"]
    torch.save(saved, path)


def zero_tail(path: Path, count: int) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - count] + bytes(count))


@pytest.mark.parametrize("old", [False, True])
def test_zeros_are_seen_or_harmless(tmp_path: Path, old: bool) -> None:
    train(tmp_path / "whole")
    draw, ends = random.Random(15), {"refused": 0, "same": 0}
    files = OLD_FILES if old else FILES
    for k in range(EMULATIONS // 3 if old else EMULATIONS):
        path = tmp_path / f"run{k}" / "whole"
        train(path, stop=draw.randrange(1, STEPS))
        if old and (path / "checkpoint.pt").exists():
            without_checksums(path / "checkpoint.pt")
        name = files[k % len(files)]
        for one in FILES[:-1] if name == "all" else (name,):
            if (path / one).exists():
                size = (path / one).stat().st_size
                zero_tail(path / one, min(size, draw.choice((1, 7, 100, draw.randrange(1, 600)))))
        damaged, said = contents_if_there(path), ""
        try:
            train(path)
        except fs.runs.DamagedRunError as error:
            said = str(error)
        ends["refused" if said else "same"] += 1
        if said:
            assert str(path) in said
            assert contents_if_there(path) == damaged, "what is refused is left as it is"
        else:
            assert contents(path) == contents(tmp_path / "whole"), (k, name)
        shutil.rmtree(path.parent)
    assert min(ends.values()) > 5, ends


def contents_if_there(path: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted(path.iterdir()) if file.name not in ("lock", "run.json")]


@pytest.mark.parametrize("name", ["steps.jsonl", "epochs.jsonl", "spectra.bin"])
def test_one_changed_byte_is_seen(tmp_path: Path, name: str) -> None:
    train(tmp_path / "a", stop=20)
    data = bytearray((tmp_path / "a" / name).read_bytes())
    data[3] = struct.unpack("B", data[3:4])[0] ^ 1
    (tmp_path / "a" / name).write_bytes(bytes(data))
    with pytest.raises(fs.runs.DamagedRunError, match=f"{name} are not those of the checkpoint"):
        train(tmp_path / "a")


def test_a_checkpoint_of_version_0_1_is_still_read(tmp_path: Path) -> None:
    train(tmp_path / "whole")
    train(tmp_path / "a", stop=17)
    without_checksums(tmp_path / "a" / "checkpoint.pt")
    train(tmp_path / "a")
    assert contents(tmp_path / "a") == contents(tmp_path / "whole")
