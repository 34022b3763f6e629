"""Measures of the source on trees whose figures are known, and how often a reader turns back."""

from __future__ import annotations

from pathlib import Path

from experiments.code_measures.source import measure_source
from experiments.code_measures.walks import measure_walks, returns_to_a_file

MOST_RETURNS = 6


def test_a_return_is_a_file_opened_again_after_another() -> None:
    assert returns_to_a_file(["a", "a", "b", "c"]) == 0
    assert returns_to_a_file(["a", "b", "a", "a", "c", "b"]) == 2


def test_a_reader_of_advise_and_select_seldom_turns_back() -> None:
    walks = measure_walks()
    assert set(walks) == {"advise", "select"}
    assert all(walk["files"] > 3 for walk in walks.values())
    assert all(walk["returns"] <= MOST_RETURNS for walk in walks.values())


def test_measures_of_a_small_package(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text('from package.a import f\n\n__all__ = ["f"]\n')
    (package / "a.py").write_text(
        "from package.b import g\n\n\ndef f(x: int) -> int:\n"
        '    """Double.\n\n    Args:\n        x: It.\n    """\n    return g(x)\n'
    )
    (package / "b.py").write_text("from package import a\n\n\ndef told(x):\n    made = x\n    return made\n")
    measures = measure_source(package)
    assert measures["files"] == 3
    assert measures["import cycles"] == 1
    assert measures["names of functions that are a participle"] == 1
    assert measures["assignments to found, told, made, kept"] == 1
    assert measures["public functions"] == 1
    assert measures["with Args, of those that take arguments"] == 1
    assert measures["with Returns, of those that return"] == 0
