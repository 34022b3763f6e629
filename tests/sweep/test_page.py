"""The page of a sweep that has really been trained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fisherscope.report import write_report


def test_the_page_is_whole_and_safe(swept: Path, tmp_path: Path) -> None:
    out = write_report(swept, tmp_path / "report.html")
    text = out.read_text()
    own = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert "s16-lr0.1" in own
    assert "claims" in own
    assert not re.search(r"""(src|href)=["']?https?:""", own)
    assert out.stat().st_size < 8 * 2**20


def test_a_page_of_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="there is no run"):
        write_report(tmp_path, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
