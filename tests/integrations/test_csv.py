"""The CSV tracker appends, and refuses another tracker's file."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cases.training_frameworks import (
    measured,
)

from fisherscope import integrations


def test_csv_goes_on_in_the_same_file_and_refuses_another_s(tmp_path: Path) -> None:
    path = tmp_path / "measured.csv"
    for _ in range(2):
        measured(integrations.CsvTracker(path))
    assert len(path.read_text().splitlines()) == 1 + 4
    with pytest.raises(ValueError, match="differ in lr_group1"):
        integrations.CsvTracker(path)({**measured(list).history.row(0, named=True), "lr_group1": 0.1})
