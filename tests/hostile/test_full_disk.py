"""A disk that fills up while a plain loop trains: the same parameters at its end, and one warning."""

from __future__ import annotations

import os
import resource
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fisherscope as fs

STEPS = 60
ROOM = 16 << 10
"""Bytes that fit: some rows of a monitor."""


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own that is really small."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={2 * ROOM}", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system can't be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def small_files(folder: Path) -> Iterator[Path]:
    """A limit on the size of files."""
    folder.mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, hard))
    try:
        yield folder
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def train(monitor_of: Any = None) -> tuple[list[torch.Tensor], Any]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    monitor = monitor_of(model, optimizer) if monitor_of else None
    for _ in range(STEPS):
        x, y = torch.randn(8, 6), torch.randint(3, (8,))
        optimizer.zero_grad()
        with monitor.observe() if monitor else nullcontext():
            nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()], monitor


@pytest.mark.parametrize(
    "mode", [{}, {"fused": True}, {"accumulate": True}], ids=["neutral", "fused", "accumulate"]
)
@pytest.mark.parametrize("disk", [small_disk, small_files])
def test_a_full_disk_costs_rows_and_nothing_else(disk: Any, mode: dict[str, Any], tmp_path: Path) -> None:
    plain, _ = train()
    with disk(tmp_path / "disk") as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with fs.open_run(folder / "r", {"task": "t", "batch_size": 8, "lr": 0.01}) as run:
            measured, monitor = train(lambda m, o: fs.Monitor(m, o, every=1, run=run, **mode))
        size = (folder / "r" / "steps.jsonl").stat().st_size
    same = torch.allclose if mode.get("fused") else torch.equal
    assert all(map(same, plain, measured))
    assert size <= 2 * ROOM
    lost, *ended = [str(w.message) for w in caught if issubclass(w.category, RuntimeWarning)]
    assert "No space left" in lost or "too large" in lost
    assert len(ended) == (disk is small_disk), ended  # run.json, which is small, fits into small files
    assert all("counts as crashed" in text for text in ended)
    statuses = [row["status"] for row in monitor.state.history.rows]
    assert statuses[0] == "ok"
    assert len(statuses) == STEPS  # the history has what the disk has not


@pytest.mark.parametrize("disk", [small_disk, small_files])
def test_what_was_written_before_is_read(disk: Any, tmp_path: Path) -> None:
    with disk(tmp_path / "disk") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fs.open_run(folder / "r", {"task": "t", "batch_size": 8, "lr": 0.01}) as run:
            train(lambda m, o: fs.Monitor(m, o, every=1, run=run))
        steps = fs.load_runs(folder).steps["step"].to_list()
    assert len(steps) > 3
    assert steps == list(range(len(steps)))
