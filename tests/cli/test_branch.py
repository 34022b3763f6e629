"""The verb: what it prints, its exit codes, and what it refuses before it trains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cases.small_branches import WORDS, parent_of
from tests.cases.small_search import ran

from fisherscope.cli.branch import branch


def test_it_prints_the_answer_and_draws_it(tmp_path: Path) -> None:
    parent = parent_of(tmp_path / "runs")
    plot = tmp_path / "branches.svg"
    printed = ran(branch, parent, *WORDS, "--out", tmp_path, "--plot", plot)
    assert "18 branches of 256, 512, 1024 samples" in printed.output
    assert "Critical batch size" in printed.output
    assert "<svg" in plot.read_text()
    again = ran(branch, parent, *WORDS, "--out", tmp_path, "--json")
    answer = json.loads(again.stdout[again.stdout.index("{") :])
    assert again.exit_code == printed.exit_code == (0 if answer["critical"] else 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--samples", "1024", "--steps", "64"), "give one of the two"),
        (("--plot", "picture.gif"), "expected one of .png, .pdf, .svg"),
        (("--train-share", "150%"), "expected a share"),
        (("--set", "lr"), "expected key=value"),
    ],
)
def test_contradictions_are_refused_before_anything_trains(
    words: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = ran(branch, "digits/mlp", *words, "--set", "epochs=2", "--jobs", "1", "--out", tmp_path)
    assert message in str(done.exception)
    assert not list(tmp_path.iterdir())
