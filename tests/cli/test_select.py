"""`fisherscope select`: text, JSON, and what a mistake says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cases.planted_runs import ran
from tests.cases.planted_sweep import Truth, write

from fisherscope.analysis import AnalysisError
from fisherscope.cli.select import select
from fisherscope.cli.table import table


def test_select(root: Path) -> None:
    text = ran(select, root)
    assert text.exit_code == 0, text.output
    assert "Use batch size" in text.output
    answer = json.loads(ran(select, root, "--json").output)
    assert answer["recommended"] in answer["indistinguishable"]
    assert answer["next_setting"] == "s8-lr0.1"
    assert len(answer["candidates"]) == 16


def test_select_backtest(root: Path) -> None:
    played = ran(select, root, "--backtest", "--json")
    assert {row["rival"] for row in json.loads(played.output)["summary"]} >= {"random", "auto"}


def test_foreign_runs_are_not_gone_on_with(root: Path) -> None:
    with pytest.raises(ValueError, match="its own loop"):
        raise ran(select, root, "--run-next").exception or AssertionError("it went on")


@pytest.mark.parametrize(
    ("truth", "words"),
    [
        (Truth(seeds=1, epochs=3, lrs=(0.1,), diverged=tuple(f"s{b}-lr0.1" for b in (8, 16, 32, 64))),
         "no run of a constant batch size has finished"),
        (Truth(seeds=1, epochs=4, lrs=(0.1,), unfinished={f"s{b}-lr0.1": 2 for b in (8, 16, 32, 64)}),
         r"has finished \(4 runs \(4 interrupted\) of 4 settings, 1 seed,"),
        (Truth(seeds=1, epochs=4, lrs=(0.1,), batch_sizes=(8,)), "1 settings have finished"),
    ],
)  # fmt: skip
def test_a_back_test_of_nothing_says_what_there_is(tmp_path: Path, truth: Truth, words: str) -> None:
    with pytest.raises(AnalysisError, match=words):
        raise ran(select, write(tmp_path, truth), "--backtest").exception or AssertionError("it went on")


def test_what_has_not_ended_is_not_called_worse(tmp_path: Path) -> None:
    cut = {f"s{b}-lr0.1": 2 for b in (16, 32, 64)}
    text = ran(select, write(tmp_path, Truth(seeds=1, epochs=4, lrs=(0.1,), unfinished=cut))).output
    assert "No other setting has finished, so there is nothing to compare it with." in text
    assert "worse" not in text


def test_what_is_not_known_is_not_called_worse(tmp_path: Path) -> None:
    cut = {f"s{b}-lr0.1": 1 for b in (32, 64)}
    truth = Truth(seeds=3, epochs=4, lrs=(0.1,), bowl=0.1, error_noise=1e-5, unfinished=cut)
    text = ran(select, write(tmp_path, truth)).output
    assert "2 others can't be compared yet, the furthest of them with 3 epochs to go" in text


def test_runs_of_other_lengths_are_not_mixed_in_silence(tmp_path: Path) -> None:
    write(tmp_path / "long", Truth(seeds=1, epochs=4, lrs=(0.1,)))
    assert "They mix" not in ran(select, tmp_path).output
    write(tmp_path / "short", Truth(seeds=1, epochs=3, lrs=(0.2,)))
    assert "They mix schedules of 3 and 4 epochs" in ran(select, tmp_path).output


def test_one_run_is_not_better_than_others(tmp_path: Path) -> None:
    write(tmp_path, Truth(seeds=1, epochs=2, lrs=(0.1,), batch_sizes=(8,)))
    text = ran(select, tmp_path).output
    assert "too few runs for an interval" in text
    assert "It is the only setting." in text
    assert "p Welch" not in ran(table, tmp_path).output  # there is nothing to compare
