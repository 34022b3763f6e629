"""Numbers of an export that are infinite, missing, negative or huge, in every column: a sentence at most."""

from __future__ import annotations

import io
import math
import random
import zipfile
from pathlib import Path

import polars as pl
import pytest
from experiments.fuzz.campaign import LIGHT
from experiments.fuzz.exports import TABLES
from experiments.fuzz.sample_runs import write_runs
from experiments.fuzz.verb_calls import Outcome, call

import fisherscope as fs

VALUES = (math.inf, -math.inf, math.nan, None, 0, -1, 0.5, 1e308, 2**62)


def call_with(folder: Path, table: str, column: str, value: object, whole: bool, verb: list[str]) -> Outcome:
    """Write the export with a value in a column, and call a verb on it."""
    with zipfile.ZipFile(folder / "valid.zip") as file:
        members = {name: file.read(name) for name in file.namelist()}
    frame = pl.read_parquet(io.BytesIO(members[table]))
    values = [value, *([value] * len(frame) if whole else frame[column].to_list())[1 : len(frame)]]
    buffer = io.BytesIO()
    frame.with_columns(pl.Series(column, values, strict=False)).write_parquet(buffer)
    with zipfile.ZipFile(folder / "e.zip", "w") as file:
        for name, data in (members | {table: buffer.getvalue()}).items():
            file.writestr(name, data)
    return call([word.replace("runs", "e.zip") if k else word for k, word in enumerate(verb)], folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_runs(tmp_path / "runs")
    (tmp_path / "seconds.json").write_text('{"8": 0.1, "32": 0.2}')
    fs.export_runs(tmp_path / "runs", tmp_path / "valid.zip")
    return tmp_path


@pytest.mark.parametrize("seed", range(8))
def test_any_number_in_any_column(seed: int, folder: Path) -> None:
    draw = random.Random(seed)
    with zipfile.ZipFile(folder / "valid.zip") as file:
        columns = [(table, name) for table in TABLES for name in pl.read_parquet(file.read(table)).columns]
    for table, name in columns:
        value, whole, verb = draw.choice(VALUES), draw.random() < 0.5, draw.choice(LIGHT)
        outcome = call_with(folder, table, name, value, whole, verb)
        assert outcome.problem is None, (table, name, value, whole, outcome.problem)


@pytest.mark.parametrize("value", VALUES)
def test_an_epoch_of_any_number_of_samples(value: object, folder: Path) -> None:
    outcome = call_with(folder, "epochs.parquet", "samples", value, True, LIGHT[-1])
    assert outcome.problem is None
    if value not in (1e308, 2**62):
        assert "of samples; expected one number" in outcome.err
