"""`fisherscope reproduce` from data to page, in real processes; killed, it goes on."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from tests.training.test_running_scores import write_mnist

from fisherscope.cli import main
from fisherscope.runs import load_runs


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> str:
    monkeypatch.setattr(sys, "argv", ["fisherscope", "reproduce", *map(str, words)])
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    told = capsys.readouterr()
    return f"{told.out}{told.err}[{code}]"


def test_from_data_to_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    data = write_mnist(tmp_path / "data", samples=40)
    words = ("mnist-mlp", "--scale", 1.2e-5, "--data-dir", data, "--jobs", 2, "--out", "made")
    told = said(monkeypatch, capsys, *words, "--dry-run")
    assert "of the paper's sample passes" in told
    assert "core-hours" in told
    assert not Path("made").exists()
    told = said(monkeypatch, capsys, *words)
    assert told.endswith("open it in a browser\n[0]") or "made/index.html" in told, told
    runs = load_runs("made/runs")
    assert set(runs.runs["status"]) <= {"finished", "diverged"}
    assert set(runs.runs["rule"]) == {"paper"}
    page = Path("made/index.html").read_text(encoding="utf-8")
    sentence = re.search(r"A smaller version, .* of the paper.{1,6}s sample passes: .*?\.", page)
    assert sentence is not None
    assert page.count("A smaller version") == 2  # at the top, and beside the table
    assert page.count("data:image/png;base64,") >= 5
    assert "no dynamic" in page.lower() or "every batch size is constant" in page  # these images are too few
    assert f"fisherscope reproduce mnist-mlp --scale {1.2e-5:g}" in page
    again = said(monkeypatch, capsys, *words)
    assert re.search(r"(\d+) runs, \1 done before", again)


def test_mistakes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "did you mean mnist-mlp" in said(monkeypatch, capsys, "mnist-mpl")
    (tmp_path / "mnist" / "train-images-idx3-ubyte.gz.part").mkdir(parents=True)  # no download can begin
    told = said(monkeypatch, capsys, "mnist-mlp", "--data-dir", tmp_path)
    assert "downloading train-images-idx3-ubyte.gz" in told
    assert told.endswith("[2]")
    listed = said(monkeypatch, capsys)
    assert "cifar100-densenet110: cifar100/densenet110, |B| 8 to 256 × α 0.025 to 0.4, 8 schedules" in listed
