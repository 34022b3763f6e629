"""Grids that can't be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.cases.small_sweep import GRID

import fisherscope as fs
from fisherscope.sweep import Grid
from fisherscope.training import ConfigurationError


def test_a_sweep_into_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="it is a file; expected a directory"):
        fs.run_sweep(GRID, tmp_path / "file")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_sizes": []}, "empty"),
        ({"batchsizes": [3]}, "did you mean 'batch_sizes'"),
        ({"lrs": [-1]}, "greater than 0"),
    ],
)
def test_a_wrong_grid_is_told(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        Grid.of(GRID | change).configurations()
