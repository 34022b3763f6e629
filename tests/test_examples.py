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
FURTHER_ROOMS = ("gram", "verification", "tasks", "training", "sweep", "search", "bench")
"""Rooms whose examples are run where there are some; none is demanded yet."""
REFERRING = re.compile(r"[;(] ?see ")
"""Text of a method that fulfils a contract whose docstring has the example."""


def public_callables(rooms: tuple[str, ...] = ROOMS) -> dict[str, Any]:
    """Functions, classes and methods of public classes, by their dotted names."""
    found: dict[str, Any] = {}
    for room in rooms:
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


def examples_of(value: Any) -> list[str]:
    """Code blocks of a docstring."""
    return re.findall(r"```python\n(.*?)```", inspect.getdoc(value) or "", re.DOTALL)


CALLABLES = public_callables()
FURTHER = {name: value for name, value in public_callables(FURTHER_ROOMS).items() if examples_of(value)}


@pytest.mark.parametrize("name", [*CALLABLES, *FURTHER])
def test_the_example_of_a_docstring_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = CALLABLES[name] if name in CALLABLES else FURTHER[name]
    examples = examples_of(value)
    assert examples or REFERRING.search(inspect.getdoc(value) or ""), f"{name} has no example"
    monkeypatch.chdir(tmp_path)
    for code in examples:
        exec(compile(textwrap.dedent(code), name, "exec"), {"fs": fs, "torch": torch})
