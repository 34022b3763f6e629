"""The landscape as a table: every setting with its errors, measures and distance."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl
import pytest
from tests.cases.planted_sweep import Truth, write
from tests.cases.said_by_verbs import said

import fisherscope as fs
from fisherscope import analysis


def test_every_setting_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = Truth(seeds=2, epochs=4, unfinished={"s8-lr0.1": 2}, diverged=("s64-lr0.2",))
    root = write(tmp_path / "runs", truth)
    text = said(monkeypatch, capsys, "landscape", root, "--csv")
    table = pl.read_csv(io.StringIO(text))
    landscape = fs.landscape(root)
    assert table["setting"].n_unique() == len(table) == 16
    assert table["setting"][0] == landscape.best["setting"][0]
    assert table["distance"][0] == pytest.approx(0, abs=1e-9)
    rows = {row["setting"]: row for row in table.to_dicts()}
    assert rows["s8-lr0.1"]["state"] == "unfinished"
    assert rows["s64-lr0.2"]["state"] == "diverged"
    ended = table.filter(pl.col("state") == "finished")["val/error"].to_list()
    assert ended == sorted(ended)
    epochs = fs.load_runs(root).epochs.filter(pl.col("epoch") == 4)
    for row in landscape.points.filter("on_surface").to_dicts():
        mine = rows[row["setting"]]
        own = epochs.filter(pl.col("run_id").str.starts_with(f"{row['setting']}-"))
        assert mine["val/error"] == pytest.approx(own["val/error"].mean())
        assert mine["val/error_std"] == pytest.approx(own["val/error"].std())
        assert mine["fisher/cond_mean"] == pytest.approx(row["x"])
        assert mine["fisher/energy_sum"] == pytest.approx(row["y"])
        assert mine["distance"] == pytest.approx(row["distance"])
    out = tmp_path / "table.csv"
    assert "16 settings" in said(monkeypatch, capsys, "landscape", root, "--out", out, "--x", "cond_geomean")
    assert "cond_geomean" in out.read_text().splitlines()[0]
    assert analysis.landscape_table(root, landscape).columns[:3] == ["setting", "fixed", "batch_size"]
