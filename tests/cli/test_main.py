"""What `main` prints of mistakes, whatever the verb."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from tests.cases.planted_runs import ran

from fisherscope.analysis import AnalysisError
from fisherscope.cli import main
from fisherscope.cli.claims import claims
from fisherscope.cli.select import select
from fisherscope.cli.table import table


def test_mistakes_raise_what_main_prints(root: Path, tmp_path: Path) -> None:
    assert isinstance(ran(select, tmp_path).exception, AnalysisError)
    assert isinstance(ran(claims, tmp_path / "absent").exception, FileNotFoundError)
    assert "one of the two" in str(ran(table).exception)


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
