"""The examples of the docstrings of analysis and figures run as printed."""

from __future__ import annotations

import inspect
import re
import textwrap
from pathlib import Path

import pytest

from fisherscope import analysis, figures

EXAMPLES = [
    (f"{room.__name__}.{name}", code)
    for room in (analysis, figures)
    for name in room.__all__
    for code in re.findall(r"```python\n(.*?)```", inspect.getdoc(getattr(room, name)) or "", re.DOTALL)
]


def test_every_function_has_an_example() -> None:
    functions = {
        f"{room.__name__}.{name}"
        for room in (analysis, figures)
        for name in room.__all__
        if inspect.isfunction(getattr(room, name))
    }
    assert functions - {"fisherscope.analysis.together"} <= {name for name, _ in EXAMPLES}


@pytest.mark.parametrize(("name", "code"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_example(name: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(textwrap.dedent(code), name, "exec"), {"__name__": "example"})
