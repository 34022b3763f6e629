"""What a command prints."""

from __future__ import annotations

import sys

import pytest

from fisherscope.cli import main

QUICK = ("digits/mlp", "--epochs", "1", "--threads", "1")


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What a command prints, and its exit code where that is not 0; a traceback would be an error here."""
    monkeypatch.setattr(sys, "argv", ["fisherscope", *map(str, words)])
    try:
        main()
    except SystemExit as ended:
        code = ended.code or 0
    else:
        code = 0
    told = capsys.readouterr()
    return told.out + told.err + (f"[{code}]" if code else "")
