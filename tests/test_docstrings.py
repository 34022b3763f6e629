"""Docstrings of everything public: Args, Returns, shapes, Raises, source, and an example that runs."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
import torch
from tests.cases.public_callables import examples_of, missing_parts, public_callables

import fisherscope as fs

CALLABLES = public_callables()
LEAST_SHARE = 0.95
EXAMPLES = [name for name, value in CALLABLES.items() if examples_of(value)]


def test_public_callables_are_documented_in_full() -> None:
    missing = {name: parts for name, v in CALLABLES.items() if (parts := missing_parts(name, v, CALLABLES))}
    assert 1 - len(missing) / len(CALLABLES) >= LEAST_SHARE, missing


def test_what_is_left_out_is_seen() -> None:
    def norm(x: torch.Tensor) -> torch.Tensor:
        """Return the norm."""
        if not len(x):
            raise ValueError("empty")
        return x

    assert missing_parts("measures.spectral.norm", norm, {}) == [
        "Args", "Returns", "shape", "dtype", "Raises", "source", "example"
    ]  # fmt: skip


def test_an_error_that_only_the_example_raises_needs_no_section() -> None:
    def twice(value: int) -> int:
        """Double a number.

        Example:
            raise ValueError("not the function's own")
        """
        return 2 * value

    assert "Raises" not in missing_parts("monitor.twice", twice, {})


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of_a_docstring_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for code in examples_of(CALLABLES[name]):
        exec(compile(textwrap.dedent(code), name, "exec"), {"__name__": "example", "fs": fs, "torch": torch})
