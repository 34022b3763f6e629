"""Seconds a step of batch sizes that were not run."""

from __future__ import annotations

from pathlib import Path

from tests.cases.small_sweep import GRID

from fisherscope.sweep import Grid, seconds_left


def test_seconds_of_sizes_that_were_not_run_lie_between(swept: Path, tmp_path: Path) -> None:
    todo = Grid.of(GRID | {"batch_sizes": [16, 32, 64], "lrs": [0.05], "seeds": [0]}).configurations()
    times, how = seconds_left(todo, swept, until=3)
    by_size = {config.batch_size: times[config.id] for config in todo}
    ends = sorted((by_size[16], by_size[64]))
    assert 0 < ends[0] <= by_size[32] <= ends[1]
    assert "recorded" in how
    assert seconds_left([], swept) == ({}, "nothing is left")
