"""Examples in docstrings run, as they stand, room by room."""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOMS = ("model_state", "monitor", "advice", "integrations", "report")


def public(room: str) -> Iterator[tuple[str, Any]]:
    """Public names of a room, and public methods of its classes."""
    module = importlib.import_module(f"fisherscope.{room}")
    for name in module.__all__:
        value = getattr(module, name)
        own = getattr(value, "__module__", "").startswith(f"fisherscope.{room}")
        if not callable(value) or name.endswith("Error") or not own:
            continue
        yield name, value
        if inspect.isclass(value):
            for method, function in vars(value).items():
                if inspect.isfunction(function) and not method.startswith("_"):
                    yield f"{name}.{method}", function


def blocks(value: Any) -> list[str]:
    """The Python blocks of a docstring."""
    return re.findall(r"```python\n(.*?)```", inspect.getdoc(value) or "", re.DOTALL)


EXAMPLES = [
    pytest.param(text, id=f"{room}.{name}-{number}")
    for room in ROOMS
    for name, value in public(room)
    for number, text in enumerate(blocks(value))
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_runs(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(textwrap.dedent(text), "example", "exec"), {"__name__": "example"})


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_have_arguments_and_first_lines_that_fit(room: str) -> None:
    wanting = []
    for name, value in public(room):
        lines = (inspect.getdoc(value) or "").splitlines()
        parameters = [p for p in inspect.signature(value).parameters if p not in ("self", "cls")]
        if not lines or len(lines[0]) > 88:
            wanting.append(f"{name}: first line")
        if parameters and "Args:" not in "\n".join(lines) and not hook(name):
            wanting.append(f"{name}: Args")
    assert not wanting


def hook(name: str) -> bool:
    """A method whose arguments are a framework's, or the state of the object itself."""
    return ".on_" in name or name.endswith(".load_state_dict")
