"""An infinite metric is no missing one: both come back as they were logged; the infinite one ranks last."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import polars as pl
from experiments.fuzz.verb_calls import call

import fisherscope as fs

VALUES = (None, math.inf, -math.inf, math.nan, 0.5, 1)


def same(a: float | None, b: float | None) -> bool:
    return a is b or a == b or (a is not None and b is not None and math.isnan(a) and math.isnan(b))


def test_what_was_logged_comes_back(tmp_path: Path) -> None:
    draw = random.Random(1)
    logged = [{f"{part}/{name}": draw.choice(VALUES) for part in ("train", "val") for name in ("loss", "x")}
              for _ in range(60)]  # fmt: skip
    with fs.open_run(tmp_path / "r" / "a", {"seed": 0}) as run:
        for row in logged:
            run.log_epoch(row)
    for line in (tmp_path / "r" / "a" / "epochs.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda text: 1 / 0)  # plain JSON, as other tools read it
    fs.export_runs(tmp_path / "r", tmp_path / "e.zip")
    read = [
        fs.load_runs(tmp_path / "r").epochs.to_dicts(),
        fs.load_runs(tmp_path / "e.zip").epochs.to_dicts(),
        fs.runs.epoch_rows(tmp_path / "r" / "a"),
    ]
    for rows in read:
        assert len(rows) == len(logged)
        for row, expected in zip(rows, logged, strict=True):
            assert "nonfinite" not in row
            assert all(same(row[key], value) for key, value in expected.items()), (row, expected)


def test_an_infinite_error_ranks_last_in_every_verb(tmp_path: Path) -> None:
    for name, size, values in (("good", 8, [0.5, 0.4, 0.3]), ("bad", 16, [0.5, math.inf, math.inf])):
        with fs.open_run(
            tmp_path / "runs" / name, {"task": "mine", "batch_size": size, "lr": 0.1, "epochs": 3}
        ) as run:
            for value in values:
                run.log_epoch(val_error=value)
    selection = fs.analysis.select(tmp_path / "runs")
    assert selection.recommended == "s8-lr0.1"
    assert selection.next_run is None, "nothing is left to train"
    state = dict(selection.candidates.select("setting", "state").iter_rows())
    assert state == {"s8-lr0.1": "finished", "s16-lr0.1": "diverged"}
    shown = json.loads(call(["runs", "runs", "--json"], tmp_path).out)
    assert {row["run_id"]: row["val/error"] for row in shown} == {"good": 0.3, "bad": "Infinity"}
    assert "inf" in call(["runs", "runs"], tmp_path).out
    for verb in (["claims", "runs"], ["table", "runs"], ["report", "runs"]):
        assert call(verb, tmp_path).problem is None


def test_what_is_no_mark_is_left(tmp_path: Path) -> None:
    with fs.open_run(tmp_path / "a", {"seed": 0}) as run:
        run.log_epoch({"val/error": 0.1, "nonfinite": "val/error=inf lr=inf x=nan step=-inf"})
        run.log_epoch({"val/error": None, "nonfinite": "val/absent=inf"})
    frame = fs.load_runs(tmp_path).epochs
    assert frame["val/error"].to_list() == [0.1, None]
    assert frame.schema["val/error"] == pl.Float64
