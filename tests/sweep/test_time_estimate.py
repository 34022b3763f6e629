"""How long a sweep will take."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.cases.small_sweep import GRID

from fisherscope.cli.sweep import sweep


def test_a_dry_run_says_how_long_from_steps_and_from_runs(
    swept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "grid.yaml"
    settings.write_text(json.dumps(GRID))  # JSON is YAML
    sweep(settings=settings, out=tmp_path / "runs", dry_run=True, jobs=2)
    told = capsys.readouterr().out
    assert "8 runs, 0 done before" in told
    assert re.search(r"8 runs, about \d+ (s|min) with 2 at a time \(from some steps measured now\)", told)
    assert not (tmp_path / "runs").exists()
    sweep(settings=settings, seeds="0,1,2", out=swept, dry_run=True, jobs=1)
    told = capsys.readouterr().out
    assert "12 runs, 8 done before" in told
    assert re.search(r"4 runs, about \d+ (s|min) with 1 at a time \(from 8 recorded runs\)", told)
