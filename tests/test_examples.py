"""Examples in docstrings run as printed: every public callable of these rooms has one, or refers to one."""

from __future__ import annotations

import inspect
import re
import textwrap
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

import fisherscope as fs

ROOMS = ("policy", "runs", "measures", "sampler", "eigenvalues")
REFERRING = re.compile(r"[;(] ?see ")
"""Text of a method that fulfils a contract whose docstring has the example."""


def public_callables() -> dict[str, Any]:
    """Functions, classes and methods of public classes, by their dotted names."""
    found: dict[str, Any] = {}
    for room in ROOMS:
        module = import_module(f"fisherscope.{room}")
        for name in module.__all__:
            value = getattr(module, name)
            if not getattr(value, "__module__", "").startswith("fisherscope") or not callable(value):
                continue
            found[f"{room}.{name}"] = value
            for method, function in vars(value).items() if inspect.isclass(value) else ():
                if inspect.isfunction(function) and not method.startswith("_"):
                    found[f"{room}.{name}.{method}"] = function
    return found


CALLABLES = public_callables()


@pytest.mark.parametrize("name", CALLABLES)
def test_the_example_of_a_docstring_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = inspect.getdoc(CALLABLES[name]) or ""
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert examples or REFERRING.search(text), f"{name} has no example"
    monkeypatch.chdir(tmp_path)
    for code in examples:
        exec(compile(textwrap.dedent(code), name, "exec"), {"fs": fs, "torch": torch})
