"""docs/reproduce.md has what its results say, and reads runs that have not ended as such."""

from __future__ import annotations

import json
from pathlib import Path

from experiments.reproduce.__main__ import PAGE, RESULTS, merge, read, to_text
from experiments.reproduce.tables import blocks, full, scaled
from experiments.study.tables import rewrite

import fisherscope as fs


def test_its_tables_are_those_of_the_results(tmp_path: Path) -> None:
    text = RESULTS.read_text(encoding="utf-8")
    results = json.loads(text)
    assert to_text(results) == text
    copy = tmp_path / "page.md"
    copy.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    made = blocks(results)
    assert all(f"<!-- begin: {name} -->" in copy.read_text(encoding="utf-8") for name in made)
    rewrite(copy, made)
    assert copy.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")


def test_runs_are_read_and_replaced_when_they_came_as_far(tmp_path: Path) -> None:
    config = {"task": "mnist/resnet8", "policy": "s16", "batch_size": 16, "lr": 0.1, "seed": 0, "epochs": 2,
              "rule": "paper", "stride": True, "validation": False, "augment": True}  # fmt: skip
    fs.open_run(tmp_path / "lost", config | {"seed": 1}).finish("diverged", "the loss is not finite")
    with fs.open_run(tmp_path / "mine", config) as run:
        run.log_epoch(test_error=0.05, train_error_running=0.06)
        early = read(tmp_path)
        run.log_epoch(test_error=0.004, train_error_running=0.01)
    late = read(tmp_path)
    lost, mine = late
    assert (lost["status"], lost["reached"], lost["test_error"]) == ("diverged", 0, None)
    assert (mine["reached"], mine["test_error"], mine["running_error"]) == (2, 0.004, 0.01)
    assert merge(early, late) == late == merge(late, early)
    said, before = full({"full": late}), full({"full, before": early})
    assert "| mnist/resnet8 | `s16-lr0.1` | 0.36 ± 0.02, 5 seeds | 0.40 | 0 | 2 of 2 | 1.00 |  |" in said
    assert "| 5.00 so far | 0 | 1 of 2 | 6.00 | before |" in before
    assert "| –, diverged | 1 | 0 of 2 |" in said
    assert "augment: None" in full({"full": [mine | {"augment": None}]})
    assert "| best of the grid | `s16-lr0.1` 0.36 ± 0.02 | 0.40 | `s16-lr0.1` 0.40 |" in scaled(late)
