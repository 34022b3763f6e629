"""A finished run whose network died is called dead, wherever runs are listed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.cases.said_by_verbs import said

import fisherscope as fs
from fisherscope.runs import dead_reason
from fisherscope.training import train

DEAD_ROW = {"train/loss": 2.3, "train/error": 0.9, "val/error": 0.91}


def rows(count: int = 9, **columns: Any) -> list[dict[str, Any]]:
    """Rows of a dead run, with columns replaced by functions of the epoch."""
    made = [dict(DEAD_ROW) for _ in range(count)]
    for number, row in enumerate(made):
        row |= {name.replace("_", "/", 1): value(number) for name, value in columns.items()}
    return made


@pytest.mark.parametrize(
    ("epochs", "words"),
    [
        (rows(), "at an error of 91 %"),
        (rows(train_loss=lambda k: 1e12 if k == 0 else 2.28), "stood at 2.28"),  # it exploded first
        (rows(train_loss=lambda k: 1.0 if k < 4 else 2.3), "last 3 epochs"),  # it had learned something
        (
            [{"train/loss": 5.0, "fisher/energy_sum": 7.0, "lr_sum": k} for k in range(6)],
            "no gradient is left",
        ),
    ],
)
def test_what_has_died_is_called_dead(epochs: list[dict[str, Any]], words: str) -> None:
    assert words in dead_reason(epochs)


@pytest.mark.parametrize(
    "epochs",
    [
        rows(train_loss=lambda k: 2.3 - 0.05 * k),  # it learns
        rows(train_loss=lambda k: 1 / (1 + k), train_error=lambda _: 0.0),
        rows(
            train_error=lambda _: 0.0, val_error=lambda _: 0.104
        ),  # fitted: only its validation error stands
        rows(train_loss=lambda k: 0.5 if k else 2.3, train_error=lambda _: 0.2, val_error=lambda _: 0.2),
        rows(val_error=lambda k: 0.9 + 0.001 * k),
        rows(2),
        rows(train_loss=lambda _: None),
        [{"train/loss": 5.0, "fisher/energy_sum": 7.0 + k, "lr_sum": k} for k in range(6)],
        [{"train/loss": 5.0, "fisher/energy_sum": 7.0, "lr_sum": 3.0} for k in range(6)],  # the rate is 0
        [{"val/error": 0.9}] * 6,
        [],
    ],
)
def test_what_lives_or_does_not_say_is_not(epochs: list[dict[str, Any]]) -> None:
    assert dead_reason(epochs) == ""


@pytest.mark.parametrize(("sweep", "dead"), [("digits-mlp", 28), ("digits-resnet8", 0), ("mnist-mlp", 14)])
def test_the_dead_runs_of_the_committed_sweeps_guess(sweep: str, dead: int) -> None:
    runs = fs.load_runs(Path(__file__).parents[2] / f"experiments/results/sweeps/{sweep}.zip")
    assert len(runs.dead) == dead
    ends = runs.epochs.sort("epoch").group_by("run_id").last()
    errors = dict(ends.select("run_id", "val/error").iter_rows())
    assert all(errors[run_id] > 0.85 for run_id in runs.dead)


def test_every_verb_calls_it_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real network, trained at a rate that kills it, beside one that learns."""
    monkeypatch.chdir(tmp_path)
    base = {"task": "digits/mlp", "batch_size": 16, "epochs": 6, "per_epoch": 1, "seed": 1}
    died = train(base | {"lr": 1.0}, "runs")
    assert died.status == "finished"
    assert died.reason.startswith("its network is dead: ")
    assert train(base | {"lr": 0.05}, "runs").reason == ""
    assert fs.load_runs("runs").dead.keys() == {died.id}

    def lines(*words: str) -> list[str]:
        return [line for line in said(monkeypatch, capsys, *words).splitlines() if "dead" in line]

    assert [line.split()[:2] for line in lines("runs", "runs")] == [[died.id, "dead"]]
    assert any("1 finished run is dead (s16-lr1)" in line for line in lines("select", "runs"))
    for verb in ("claims", "table", "landscape"):
        assert any("s16-lr1" in line for line in lines(verb, "runs")), verb
    assert '"state": "dead"' in said(monkeypatch, capsys, "select", "runs", "--json") or any(
        row["state"] == "dead" for row in fs.select("runs").candidates.iter_rows(named=True)
    )
    words = ("--batch-sizes", "16", "--lrs", "0.05,1", "--epochs", "6", "--per-epoch", "1", "--seed", "1")
    assert any(
        "1 run is dead (s16-lr1)" in line
        for line in lines("choose", "digits/mlp", *words, "--budget", "100%", "--jobs", "1", "--out", "runs")
    )
    said(monkeypatch, capsys, "report", "runs")
    assert '"state": "dead"' in Path("report.html").read_text().replace('"state":"dead"', '"state": "dead"')
