"""Every figure is drawn, to the same file, and says what it can't draw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from tests.cases.figure_sweep import small_print
from tests.cases.planted_sweep import Truth, write
from typer.testing import CliRunner

from fisherscope import figures
from fisherscope.analysis import AnalysisError


@pytest.mark.parametrize("number", [number for number in figures.FIGURES if number != "7"])
def test_each_is_drawn(sweep: Path, tmp_path: Path, number: str) -> None:
    path = figures.save(figures.FIGURES[number](sweep), tmp_path / "figure.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_suffix_says_the_format_and_the_same_figure_is_the_same_file(sweep: Path, tmp_path: Path) -> None:
    for suffix, start in (("pdf", b"%PDF-"), ("svg", b"<?xml")):
        one, two = (figures.save(figures.figure_1a(sweep), tmp_path / f"{k}.{suffix}") for k in "ab")
        assert one.read_bytes().startswith(start)
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    ("truth", "draw", "words"),
    [
        (Truth(batch_sizes=(8,), lrs=(0.1,), seeds=1, epochs=2), figures.figure_1b, "too few for a surface"),
        (Truth(batch_sizes=(8, 16, 32), seeds=1, epochs=2, lrs=(0.1, 0.2), unfinished={
            f"s{b}-lr{a}": 1 for b in (8, 16, 32) for a in (0.1, 0.2)}),
         figures.figure_1b, "No setting has finished"),
        (Truth(batch_sizes=(8, 16), seeds=1, epochs=3, lrs=(0.1,), diverged=("s8-lr0.1", "s16-lr0.1")),
         figures.figure_2, "drawn as far as they got"),
    ],
)  # fmt: skip
def test_little_is_drawn_with_a_word(
    tmp_path: Path, truth: Truth, draw: Callable[..., Figure], words: str
) -> None:
    assert words in small_print(draw(write(tmp_path, truth)))


@pytest.mark.parametrize(
    ("truth", "draw", "words"),
    [
        (Truth(batch_sizes=(8, 16), seeds=1, epochs=3, lrs=(0.1,), diverged=("s8-lr0.1", "s16-lr0.1")),
         figures.figure_1b, "figures 2 and 4 show runs up to where they diverged"),
        (Truth(batch_sizes=(8,), seeds=1, epochs=2, lrs=(0.1,)), figures.figure_1d,
         "every batch size is constant"),
        (Truth(batch_sizes=(8,), seeds=1, epochs=2, lrs=(0.1,), measures=False), figures.figure_4,
         "no run has fisher/cond_mean|neither the epochs nor the steps"),
        (Truth(batch_sizes=(8,), seeds=1, epochs=2, lrs=(0.1,), unfinished={"s8-lr0.1": 1}),
         figures.figure_1a, "no constant batch size has finished"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_told(
    tmp_path: Path, truth: Truth, draw: Callable[..., Figure], words: str
) -> None:
    with pytest.raises(AnalysisError, match=words):
        draw(write(tmp_path, truth))


def test_directories_without_one_task(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="it is empty"):
        figures.figure_1b(tmp_path)
    for task in ("a/mlp", "b/two"):
        write(tmp_path / task, Truth(seeds=1, epochs=2, batch_sizes=(8,), lrs=(0.1,), task=task))
    with pytest.raises(AnalysisError, match="several tasks"):
        figures.figure_1b(tmp_path)
    assert "a/mlp" in figures.figure_7(tmp_path).axes[0].get_title(loc="left")


def test_the_verb_and_its_mistakes(sweep: Path, tmp_path: Path) -> None:
    import typer

    from fisherscope.cli.figure import figure

    app = typer.Typer()
    app.command()(figure)

    def ran(*words: object) -> object:
        done = CliRunner().invoke(app, [str(word) for word in words])
        return done.exception or done.output

    out = tmp_path / "a.svg"
    assert "a.svg: " in str(ran("6", sweep, "-o", out, "--settings", "s16-lr0.05", "--no-notes"))
    assert out.read_text().startswith("<?xml")
    assert "drawing figure '1': there is no such figure; did you mean 1" in str(ran("1", sweep))
    assert "it takes no --lr; it takes --metric, --task, --notes" in str(ran("1a", sweep, "--lr", "0.1"))
    assert "expected one of .png, .pdf, .svg" in str(ran("1a", sweep, "-o", tmp_path / "a.gif"))
