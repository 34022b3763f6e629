"""The committed sweeps of the study, and which of their runs count."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl

import fisherscope as fs
from fisherscope.analysis.data.settings import settings_of
from fisherscope.runs.reader import Runs

RESULTS = Path(__file__).parents[1] / "results"
SWEEPS = (
    "digits-resnet8",
    "digits-mlp",
    "digits-densenet8",
    "digits5-resnet8",
    "digits2-resnet8",
    "mnist-mlp",
    "mnist1000-mlp",
    "mnist-resnet8",
)


def stored(name: str) -> Path:
    """Return the path of a sweep's export."""
    return RESULTS / "sweeps" / f"{name}.zip"


def load(name: str) -> Runs:
    """Load a sweep's runs."""
    return fs.load_runs(stored(name))


def fixed(runs: Runs) -> Runs:
    """Select ended runs of constant batch size, of the seeds with which every setting has ended."""
    frame = settings_of(runs).frame
    ended = frame.filter(pl.col("fixed"), pl.col("status").is_in(["finished", "diverged"]))
    settings = frame.filter(pl.col("fixed"))["setting"].n_unique()
    whole = [s for (s,), part in ended.group_by("seed") if part["setting"].n_unique() == settings]
    chosen = ended.filter(pl.col("seed").is_in(whole))["run_id"].to_list()
    return runs.filter(pl.col("run_id").is_in(chosen))


def studied(runs: Runs) -> Runs:
    """Select the runs of `fixed`, and the schedules that have ended."""
    frame = settings_of(runs).frame
    schedules = frame.filter(~pl.col("fixed"), pl.col("status") == "finished")["run_id"].to_list()
    chosen = fixed(runs).runs["run_id"].to_list() + schedules
    return runs.filter(pl.col("run_id").is_in(chosen))


def plain(value: Any) -> Any:
    """As JSON has it: NaN is null."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
