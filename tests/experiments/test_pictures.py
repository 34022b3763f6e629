"""Every picture of the documentation is of the results that are committed now."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from experiments.pictures import __main__ as pictures

ROOT = Path(__file__).parents[2]
OF_CODE = {
    "advice.png", "architecture-engine.svg", "architecture-rooms.svg", "notebook.png", "progress.png",
    "report.png", "row-identity.png",
}  # fmt: skip
"""Pictures of a screen, a model or the imports: not of results."""


def test_no_picture_is_of_earlier_results() -> None:
    noted = json.loads(pictures.INPUTS.read_text(encoding="utf-8"))
    assert set(noted) == set(pictures.GROUPS)
    for name, entry in noted.items():
        now = {path: pictures.digest(ROOT / path) for path in pictures.GROUPS[name].inputs}
        assert entry["inputs"] == now, f"draw them again: {entry['command']}"
        assert entry["pictures"] == pictures.pictures_of(name)


def test_every_picture_that_is_shown_is_drawn_by_the_command() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    shown = {name for page in pages for name in re.findall(r"\]\(\S*?images/(\S+?)\)", page.read_text())}
    drawn = {name for group in pictures.GROUPS for name in pictures.pictures_of(group)}
    assert len(drawn) > 30
    assert shown - drawn <= OF_CODE
    assert drawn <= shown | {"study/measures.png"}


def test_a_picture_of_earlier_results_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    changed = json.loads(pictures.INPUTS.read_text(encoding="utf-8"))
    path = pictures.GROUPS["gallery"].inputs[0]
    changed["gallery"]["inputs"][path] = "0" * 16
    (tmp_path / "inputs.json").write_text(json.dumps(changed), encoding="utf-8")
    monkeypatch.setattr(pictures, "INPUTS", tmp_path / "inputs.json")
    with pytest.raises(AssertionError, match=r"python -m experiments\.pictures gallery"):
        test_no_picture_is_of_earlier_results()
    with pytest.raises(SystemExit, match="expected one of gallery, dynamic, study, reproduce"):
        pictures.main(["galery"])
