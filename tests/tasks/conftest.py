"""A user's task, importable."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cases.user_task import OWN


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"own_task_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(OWN.format(more=""))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name
