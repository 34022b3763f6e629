"""`fisherscope table`."""

from __future__ import annotations

from pathlib import Path

from tests.cases.planted_runs import ran

from fisherscope.cli.table import table


def test_table(root: Path, tmp_path: Path) -> None:
    assert "| s# |" in ran(table, root, "--format", "markdown").output
    means = tmp_path / "means.csv"
    means.write_text("task,kind,setting,mean,std,n\nA,s#,s32,5.07,0.21,5\nA,-∅,s32-to-512,5.56,0.09,5\n")
    assert "0.004" in ran(table, "--means", means).output
