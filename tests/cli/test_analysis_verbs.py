"""The verbs select, claims and table as a user runs them: text, JSON, and what a mistake says."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from tests.cases.planted_sweep import Truth, write
from typer.testing import CliRunner, Result

from fisherscope.analysis import AnalysisError
from fisherscope.cli import main
from fisherscope.cli.claims import claims
from fisherscope.cli.figure import figure
from fisherscope.cli.select import select
from fisherscope.cli.table import table


def ran(verb: Callable[..., None], *words: object) -> Result:
    app = typer.Typer()
    app.command()(verb)
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    truth = Truth(seeds=2, epochs=4, unfinished={"s8-lr0.1": 2})
    return write(tmp_path_factory.mktemp("sweep"), truth)


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


def test_claims(root: Path) -> None:
    assert "NOT TESTABLE" in ran(claims, root).output
    answer = json.loads(ran(claims, root, "--json").output)
    assert [row["number"] for row in answer["claims"]] == list(range(1, 13))


def test_table(root: Path, tmp_path: Path) -> None:
    assert "| s# |" in ran(table, root, "--format", "markdown").output
    means = tmp_path / "means.csv"
    means.write_text("task,kind,setting,mean,std,n\nA,s#,s32,5.07,0.21,5\nA,-∅,s32-to-512,5.56,0.09,5\n")
    assert "0.004" in ran(table, "--means", means).output


def test_mistakes_raise_what_main_prints(root: Path, tmp_path: Path) -> None:
    assert isinstance(ran(select, tmp_path).exception, AnalysisError)
    assert isinstance(ran(claims, tmp_path / "absent").exception, FileNotFoundError)
    assert "one of the two" in str(ran(table).exception)


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
        (Truth(seeds=1, epochs=4, lrs=(0.1,), batch_sizes=(8,)), "1 settings have ended"),
    ],
)  # fmt: skip
def test_a_back_test_of_nothing_says_what_there_is(tmp_path: Path, truth: Truth, words: str) -> None:
    with pytest.raises(AnalysisError, match=words):
        raise ran(select, write(tmp_path, truth), "--backtest").exception or AssertionError("it went on")


def test_what_has_not_ended_is_not_called_worse(tmp_path: Path) -> None:
    cut = {f"s{b}-lr0.1": 2 for b in (16, 32, 64)}
    text = ran(select, write(tmp_path, Truth(seeds=1, epochs=4, lrs=(0.1,), unfinished=cut))).output
    assert "No other setting has ended, so there is nothing to compare it with." in text
    assert "worse" not in text


def test_what_is_not_known_is_not_called_worse(tmp_path: Path) -> None:
    cut = {f"s{b}-lr0.1": 1 for b in (32, 64)}
    truth = Truth(seeds=3, epochs=4, lrs=(0.1,), bowl=0.1, error_noise=1e-5, unfinished=cut)
    assert "nothing is known yet of 2 others" in ran(select, write(tmp_path, truth)).output


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


@pytest.mark.parametrize("rate", ["nan", "0", "-0.1"])
def test_a_figure_of_an_impossible_rate_is_refused(root: Path, rate: str) -> None:
    with pytest.raises(ValueError, match="expected a learning rate of the runs"):
        raise ran(figure, "1d", root, "--lr", rate).exception or AssertionError("it drew")


@pytest.mark.parametrize("words", [["runs"], ["report"], ["figure", "7"], ["figure", "2"]])
def test_no_run_is_told_by_its_place_and_damage_in_one_line(
    tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text("[1, 2]")
    monkeypatch.setattr("sys.argv", ["fisherscope", *words, str(tmp_path)])
    monkeypatch.setattr("warnings.showwarning", warnings.showwarning)  # main sets it
    with warnings.catch_warnings(), pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["fisherscope:"] * len(lines)
    assert f"there is no run in {tmp_path}; it holds run.json, and no readable run.json" in lines[-1]
