"""Table 1: from runs, and from the paper's means and deviations with p-values of the size it prints."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import fisherscope as fs
from fisherscope.analysis import AnalysisError, Table, table, table_of_means

PAPER = [  # docs/paper.md, Table 1, n assumed 5: task, kind, setting, mean, std, hours
    ("CIFAR-10", "s#", "s32", 4.78, 0.05, 7.7), ("CIFAR-10", "-∅", "s32-to-128", 4.90, 0.05, 7.0),
    ("CIFAR-10", "-MS", "s32-to-128", 4.76, 0.13, 7.1), ("SVHN", "s#", "s128", 1.93, 0.04, 9.5),
    ("SVHN", "-∅", "s128-to-512", 1.91, 0.01, 8.9), ("SVHN", "-MS", "s32-to-512", 1.90, 0.04, 9.4),
    ("MNIST", "s#", "s16", 0.36, 0.02, 0.14), ("MNIST", "-∅", "s16-to-64", 0.39, 0.02, 0.11),
    ("MNIST", "-MS", "s16-to-64", 0.34, 0.02, 0.11),
]  # fmt: skip
PRINTED = {
    "CIFAR-10": (0.0048, 0.72, 0.029), "SVHN": (0.58, 0.51, 0.69), "MNIST": (0.11, 0.18, 0.033)
}  # fmt: skip


def means(n: int) -> pl.DataFrame:
    names = ["task", "kind", "setting", "mean", "std", "hours"]
    return pl.DataFrame(PAPER, schema=names, orient="row").with_columns(n=n)


@pytest.mark.parametrize("task", PRINTED)
def test_p_values_are_of_the_printed_size(task: str) -> None:
    """Rounded inputs: each printed p lies within a factor of four of Welch or Student at n = 3 or 5."""
    found = [table_of_means(means(n)).comparisons.filter(pl.col("task") == task) for n in (3, 5)]
    for k, printed in enumerate(PRINTED[task]):
        ours = [frame[column][k] for frame in found for column in ("p_welch", "p_student")]
        assert min(abs(math.log(p / printed)) for p in ours) <= math.log(4), (task, k, ours)


def test_the_formats(tmp_path: Path) -> None:
    made = table_of_means(means(5))
    text = made.render("text")
    assert "s32 4.78±0.05 7.7h" in text
    assert "p Welch" in text
    assert "| s# | s32 4.78±0.05 7.7h |" in made.render("markdown")
    latex = made.render("latex")
    assert latex.count(r"\begin{tabular}") == 2
    assert r"s\#" in latex
    assert r"$\emptyset$" in latex
    assert "∅" not in latex
    rows = list(csv.DictReader(io.StringIO(made.render("csv").split("\n\n")[0])))
    assert len(rows) == 9
    path = tmp_path / "means.csv"
    means(5).write_csv(path)
    assert table_of_means(path).comparisons.equals(made.comparisons)
    with pytest.raises(AnalysisError, match="expected one of text"):
        made.render("word")
    with pytest.raises(AnalysisError, match="std missing"):
        table_of_means(means(5).drop("std"))
    with pytest.raises(AnalysisError, match="welch, student"):
        table_of_means(means(5), test="anova")


def finished(root: Path, policy: str, seed: int, val: float, test: float, seconds: float = 0.01) -> None:
    config = {"task": "t/x", "policy": policy, "lr": 0.1, "epochs": 2, "seed": seed}
    with fs.open_run(root / f"{policy}-seed{seed}", config) as run:
        for epoch in (1, 2):
            times = {
                "time/plain_process_s": 100 * seconds,
                "time/plain_steps": 100,
                "time/measured_process_s": 0,
            }
            count = {"step": 100 * epoch, "samples": 3200 * epoch, "batch_size": 32}
            run.log_epoch({"epoch": epoch, "val/error": val, "test/error": test, **count, **times})


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    numbers = np.random.default_rng(0)
    for seed in range(4):
        noise = 0.001 * numbers.normal(size=5)
        finished(tmp_path, "s32", seed, 0.05 + noise[0], 0.060 + noise[0])
        finished(tmp_path, "s64", seed, 0.07 + noise[1], 0.050 + noise[1])
        finished(tmp_path, "s32-to-128", seed, 0.04 + noise[2], 0.061 + noise[2])
        finished(tmp_path, "s32-to-128-MS", seed, 0.04 + noise[3], 0.045 + noise[3])
    return tmp_path


def test_validation_picks_and_test_is_shown(runs: Path) -> None:
    made = table(runs)
    assert isinstance(made, Table)
    assert (made.chosen_by, made.metric) == ("val/error", "test/error")
    entries = {row["kind"]: row for row in made.entries.iter_rows(named=True)}
    assert entries["s#"]["setting"] == "s32-lr0.1"
    assert entries["s#"]["mean"] == pytest.approx(0.060, abs=0.002)
    assert entries["-∅"]["hours"] == pytest.approx(2 / 3600)
    assert len(made.comparisons) == 3
    first = made.comparisons.row(0, named=True)
    assert first["p_welch"] > 0.05
    assert made.comparisons.row(1, named=True)["p_welch"] < 0.001
    assert first["p_holm"] >= first["p_welch"]
    assert first["p_equivalent"] < 0.05  # 0.1 points apart, margin 10 % of 6 %
    assert first["margin"] == pytest.approx(0.1 * entries["s#"]["mean"])


def test_the_papers_way_says_what_it_does(runs: Path) -> None:
    made = table(runs, paper=True)
    assert made.entries.filter(pl.col("kind") == "s#")["setting"][0] == "s64-lr0.1"
    assert "too small" in str(made)


def test_one_seed_has_no_test(tmp_path: Path) -> None:
    finished(tmp_path, "s32", 0, 0.05, 0.06)
    finished(tmp_path, "s32-to-128", 0, 0.05, 0.06)
    made = table(tmp_path)
    assert made.comparisons["p_welch"].to_list() == [None]
    assert "One seed" in str(made)


def test_nothing_finished(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="no run"):
        table(tmp_path)
    finished(tmp_path, "s32", 0, 0.05, 0.06)
    with pytest.raises(AnalysisError, match=r"none of 1 runs has finished at learning rate 0\.2"):
        table(tmp_path, lr=0.2)


@pytest.mark.parametrize("config", [{}, {"batch_size": 8}, {"lr": 0.1}, {"policy": None, "lr": "x"}])
def test_a_task_without_settings_does_not_hide_the_others(config: dict[str, object], tmp_path: Path) -> None:
    for seed in range(2):
        finished(tmp_path, "s32", seed, 0.05 + seed / 100, 0.06)
    with fs.open_run(tmp_path / "bare", {"task": "bare", "epochs": 1, **config}) as run:
        run.log_epoch(epoch=1, val_error=0.1)
    made = str(table(tmp_path))
    assert "s32" in made
    assert "bare: left out: " in made


def test_a_task_without_a_metric_does_not_hide_the_others(tmp_path: Path) -> None:
    for seed in range(2):
        finished(tmp_path, "s32", seed, 0.05 + seed / 100, 0.06)
    with fs.open_run(
        tmp_path / "bare", {"task": "bare", "batch_size": 8, "lr": 0.1, "seed": 0, "epochs": 1}
    ) as run:
        run.log_epoch(epoch=1)
    made = str(table(tmp_path))
    assert "s32" in made
    assert "bare: left out: reading the metric of 1 run" in made
