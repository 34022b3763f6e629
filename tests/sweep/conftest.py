"""A sweep that nothing interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cases.small_sweep import GRID

import fisherscope as fs


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grid of eight runs that nothing interrupted."""
    root = tmp_path_factory.mktemp("swept")
    result = fs.run_sweep(GRID, root, jobs=2)
    assert result.complete
    assert {status for status, _ in result.ends.values()} == {"finished"}
    return root
