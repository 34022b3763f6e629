"""Fixtures of verbs: a planted sweep, and a command line in an empty directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cases.planted_sweep import Truth, write
from tests.cases.said_by_verbs import said


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    truth = Truth(seeds=2, epochs=4, unfinished={"s8-lr0.1": 2})
    return write(tmp_path_factory.mktemp("sweep"), truth)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    return lambda *words: said(monkeypatch, capsys, *words)
