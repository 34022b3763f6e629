"""Mistakes in a sweep are named before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cases.said_by_verbs import QUICK


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("digits/resnet9", "--batch-sizes", "8"), "did you mean digits/resnet8"),
        (("digits/mlp", "--batch-sizes", "8", "--jobs", "0", "--dry-run"), "at least 1"),
        (("digits/mlp", "--batch-sizes", "8", "--until", "0"), "at least 1"),
        (("--config", "grid.yaml"), "lr belongs to one run; a grid takes a list, lrs: [0.05]"),
    ],
)
def test_a_sweep_s_mistakes_are_told_before_anything_runs(words, told, run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "grid.yaml").write_text("task: digits/mlp\nbatch_sizes: [8]\nlr: 0.05\n")
    found = run("sweep", *words)
    assert told in found
    assert found.endswith("[2]")


def test_a_sweep_with_runs_that_cannot_go_on_fails(run) -> None:  # type: ignore[no-untyped-def]
    found = run("sweep", *QUICK[:3], "--batch-sizes", "301", "--jobs", 1)
    assert "batches of 301 from 300 samples" in found
    assert "1 runs failed (see above)" in found
    assert "run the same command to resume them" not in found
    assert found.endswith("[1]")
