"""A real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cases.chromium import chromium
from tests.cases.page_texts import HOSTILE, _schedule
from tests.cases.planted_sweep import Truth, write

from fisherscope.report import write_report


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a sweep with a diverged setting, an unfinished one, a schedule and a hostile name."""
    root = tmp_path_factory.mktemp("sweep")
    write(root, Truth(seeds=2, epochs=8, diverged=("s8-lr0.2",), unfinished={"s64-lr0.025": 3}, task=HOSTILE))
    _schedule(root, HOSTILE)
    return write_report(root, root.parent / "report.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as driver:
        yield driver
