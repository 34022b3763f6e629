"""Errors of the system, by name."""

from __future__ import annotations

from pathlib import Path

from tests.cases.said_by_verbs import QUICK


def test_an_error_of_the_system_says_what_of(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run("train", *QUICK)
    assert "writing page.html in nowhere: No such file or directory" in run(
        "report", "runs", "-o", "nowhere/page.html"
    )
