"""Rows of different keys in one table."""

from __future__ import annotations

import pytest
from tests.cases.toy_run import CONFIG

import fisherscope as fs


def test_configurations_of_all_kinds_make_one_table(tmp_path):
    fs.open_run(tmp_path / "a", {"lr": 1, "policy": {"name": "x", "size": 3}, "list": [1, 2]}).close()
    fs.open_run(tmp_path / "b", {"lr": 0.5, "status": "mine", "flag": True}).close()
    table = fs.load_runs(tmp_path).runs
    assert table["lr"].to_list() == [1.0, 0.5]
    assert table["policy.name"].to_list() == ["x", None]
    assert table["list"].to_list() == ["[1, 2]", None]
    assert table["config.status"].to_list() == [None, "mine"]


@pytest.mark.parametrize("odd", ["late key", "missing key", "late type", "colon in text", "swapped key"])
def test_rows_that_are_not_alike_lose_nothing(tmp_path, odd):
    rows = [{"step": k, "x": k * 0.5, "n": k} for k in range(1000)]
    rows[500] = {
        "late key": {**rows[500], "late": 7},
        "missing key": {"step": 500, "n": 500},
        "late type": {**rows[500], "n": 0.5},
        "colon in text": {**rows[500], "x": None},
        "swapped key": {"step": 500, "x": 250.0, "late": 7},
    }[odd]
    if odd == "colon in text":
        rows = [{**row, "status": 'a ": b' if row["step"] == 500 else "ok"} for row in rows]
    with fs.open_run(tmp_path / "a", CONFIG) as run:
        for row in rows:
            run.log_step(row)
    table = fs.load_runs(tmp_path).steps
    for row in (rows[0], rows[500], rows[999]):
        assert {key: table[key][row["step"]] for key in row} == row
    assert table.height == 1000


def test_a_run_whose_column_is_empty_joins_one_whose_is_not(tmp_path):
    for name, value in (("a", None), ("b", 1.5), ("c", 2)):
        with fs.open_run(tmp_path / name, CONFIG) as run:
            run.log_step({"step": 0, "x": value})
    assert fs.load_runs(tmp_path).steps["x"].to_list() == [None, 1.5, 2.0]
