"""How often a reader who follows a public call down turns back to a file already left."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch

import fisherscope as fs

ROOT = Path(fs.__file__).parent
SWEEP = Path(__file__).parents[1] / "results" / "sweeps" / "digits-mlp.zip"
ROOMS = {"advise": ("advice/", "analysis/"), "select": ("analysis/selection/",)}
"""Folders that answer the question; below them a reader trusts what a function's name says."""


def first_calls(call: Callable[[], object]) -> list[str]:
    """Return the file of each function of the package in the order of their first calls."""
    files: list[str] = []
    opened = set()

    def note_call(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        path = Path(code.co_filename)
        if event == "call" and code not in opened and path.is_relative_to(ROOT) and code.co_name[0] != "<":
            opened.add(code)
            files.append(path.relative_to(ROOT).as_posix())

    sys.setprofile(note_call)
    try:
        call()
    finally:
        sys.setprofile(None)
    return files


def returns_to_a_file(files: list[str]) -> int:
    """Return how often a sequence of files comes back to one that it had left."""
    stays = [name for k, name in enumerate(files) if k == 0 or name != files[k - 1]]
    return len(stays) - len(set(stays))


def measure_walks() -> dict[str, Any]:
    """Follow `advise` and `select` down, each function opened once, in the order of first calls.

    Returns:
        Of each call: files opened and returns, in the folders that answer the question and in all.
    """
    torch.manual_seed(0)
    x = torch.randn(200, 6)
    data, loss = (x, (x[:, 0] > 0).long()), torch.nn.functional.cross_entropy
    model = torch.nn.Linear(6, 2)

    def advise() -> object:
        return fs.advise(model, loss, data, warmup=5, sizes=(4, 8, 16), seconds=10)

    walks = {}
    for name, call in (("advise", advise), ("select", lambda: fs.select(SWEEP))):
        call()  # what is loaded on first use is no part of the walk
        files = first_calls(call)
        own = [file for file in files if file.startswith(ROOMS[name])]
        walks[name] = {
            "folders": list(ROOMS[name]),
            "files": len(set(own)),
            "returns": returns_to_a_file(own),
            "files of the package": len(set(files)),
            "returns in the package": returns_to_a_file(files),
        }
    return walks
