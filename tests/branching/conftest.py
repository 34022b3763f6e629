from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.cases.small_branches import OPTIONS, parent_of

import fisherscope as fs


@pytest.fixture(scope="session")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of digits/mlp, stopped after 2 of 6 epochs."""
    return parent_of(tmp_path_factory.mktemp("parent"))


@pytest.fixture(scope="session")
def measured(parent: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The directory and the result of branches that nothing interrupted."""
    out = tmp_path_factory.mktemp("measured")
    return out, fs.branch(parent, out=out, jobs=2, **OPTIONS)
