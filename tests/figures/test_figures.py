"""The paper's figures: what they draw is what was planted, and what bad input says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from tests.cases.planted_sweep import Truth, final_error, write
from typer.testing import CliRunner

import fisherscope as fs
from fisherscope import figures
from fisherscope.analysis import AnalysisError, landscape
from fisherscope.analysis.data.labels import setting_label
from fisherscope.figures.label_placement import place_labels
from fisherscope.figures.log_axes import log_ticks, plain_number
from fisherscope.figures.style import panels

TRUTH = Truth(seeds=2, epochs=8, diverged=("s8-lr0.2",), unfinished={"s64-lr0.025": 3})
SCHEDULES = ("s8-to-32", "s32-to-8-MS")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write(tmp_path_factory.mktemp("sweep"), TRUTH)
    for place, policy in enumerate(SCHEDULES):
        config = {"task": TRUTH.task, "policy": policy, "batch_size": 8, "lr": 0.1, "epochs": 8, "seed": 0}
        with fs.open_run(root / policy, config) as run:
            for epoch in range(1, 9):
                run.log_epoch(
                    epoch=epoch, step=90 * epoch, train_error=0.0, val_error=0.2 / epoch,
                    test_error=0.3 / epoch,
                    fisher_cond_mean=50.0 + 10 * place + epoch, fisher_energy_sum=3.0 * epoch,
                )  # fmt: skip
    return root


def lines(figure: Figure, panel: int = 0) -> dict[str, np.ndarray]:
    """Points of the labelled lines of a panel."""
    return {
        str(line.get_label()): line.get_xydata()
        for line in figure.axes[panel].lines
        if len(line.get_xydata())
    }


def small_print(figure: Figure) -> str:
    return str(figure._supxlabel.get_text()).replace("\n", " ") if figure._supxlabel else ""  # type: ignore[attr-defined]


@pytest.mark.parametrize("number", [number for number in figures.FIGURES if number != "7"])
def test_each_is_drawn(sweep: Path, tmp_path: Path, number: str) -> None:
    path = figures.save(figures.FIGURES[number](sweep), tmp_path / "figure.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_suffix_says_the_format_and_the_same_figure_is_the_same_file(sweep: Path, tmp_path: Path) -> None:
    for suffix, start in (("pdf", b"%PDF-"), ("svg", b"<?xml")):
        one, two = (figures.save(figures.figure_1a(sweep), tmp_path / f"{k}.{suffix}") for k in "ab")
        assert one.read_bytes().startswith(start)
        assert one.read_bytes() == two.read_bytes()


def test_error_lines_are_the_planted_ones(sweep: Path) -> None:
    figure = figures.figure_1a(sweep)
    (container,) = [c for c in figure.axes[0].containers if c.get_label() == "0.05"]
    for size, error in container.lines[0].get_xydata():
        assert error == pytest.approx(100 * final_error(TRUTH, size, 0.05), abs=0.3)
    assert "s8-lr0.2 diverged" in small_print(figure)
    assert not small_print(figures.figure_1a(sweep, notes=False))


def test_marks_of_the_plane_are_the_landscape_s(sweep: Path) -> None:
    figure = figures.figure_1b(sweep)
    drawn = np.concatenate([c.lines[0].get_xydata() for c in figure.axes[0].containers])
    found = landscape(sweep).mapped.select("x", "y").to_numpy()
    assert np.allclose(np.sort(drawn, axis=0), np.sort(found, axis=0))
    assert "Not finished, left out: s64-lr0.025" in small_print(figure)


def test_early_places_are_those_of_their_epoch(sweep: Path) -> None:
    figure = figures.figure_1c(sweep, epochs=2)
    ends = sorted(
        line.get_xydata()[-1].tolist() for line in figure.axes[0].lines if len(line.get_xydata()) == 2
    )
    early = landscape(sweep, epoch=2).points.filter(~landscape(sweep, epoch=2).points["diverged"].cast(bool))
    expected = sorted(early.filter(early["fixed"]).select("x", "y").to_numpy().tolist())
    assert np.allclose(ends, expected)
    assert figure.axes[0].get_title(loc="left") == "Epochs 1 to 2"


def test_travel_is_marked_at_the_shares_of_the_epochs(sweep: Path) -> None:
    figure = figures.figure_5(sweep)
    assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == ["s32-to-8-MS-lr0.1", "s8-to-32-lr0.1"]
    marks = next(line.get_xydata() for line in figure.axes[1].lines
                 if len(line.get_xydata()) == 6 and to_hex(line.get_color()) == "#d55e00")  # fmt: skip
    assert (marks[:, 1] / 3).round().tolist() == [1, 2, 3, 5, 6, 8]  # 5, 20, 40, 60, 80, 100 % of eight


def test_measures_are_the_recorded_ones(sweep: Path) -> None:
    figure = figures.figure_2(sweep, lr=0.1)
    runs = fs.load_runs(sweep)
    last = runs.epochs.filter(runs.epochs["run_id"].str.starts_with("s32-lr0.1-"))
    expected = np.exp(np.log(last.filter(last["epoch"] == 8)["fisher/energy_sum"].to_numpy()).mean())
    ends = [line.get_ydata()[-1] for line in figure.axes[3].lines]
    assert any(end == pytest.approx(expected) for end in ends)
    with pytest.raises(AnalysisError, match=r"the learning rate 0\.3 .* there are 0\.025, 0\.05, 0\.1, 0\.2"):
        figures.figure_2(sweep, lr=0.3)


def test_verticals_stand_where_training_ends(sweep: Path) -> None:
    figure = figures.figure_4(sweep)
    verticals = {line.get_xdata()[0] for line in figure.axes[0].lines if line.get_linestyle() == ":"
                 and len(set(line.get_xdata())) == 1}  # fmt: skip
    assert {8 * 2048 / size for size in TRUTH.batch_sizes} <= verticals


def test_error_curves_of_named_settings(sweep: Path) -> None:
    figure = figures.figure_6(sweep, settings=("s16-lr0.05", "s8-to-32-lr0.1"))
    assert set(lines(figure)) == {"s16-lr0.05", "s8-to-32-lr0.1"}
    assert (lines(figure)["s8-to-32-lr0.1"][:, 1] == 0).all()
    assert lines(figure, 1)["s8-to-32-lr0.1"][-1].tolist() == [8, pytest.approx(100 * 0.3 / 8)]
    assert {"s8-to-32-lr0.1", "s32-to-8-MS-lr0.1"} < set(
        lines(figures.figure_6(sweep))
    )  # the best of each kind
    with pytest.raises(AnalysisError, match=r"no setting 's16-lr0\.5'; near: s16-lr0\.05"):
        figures.figure_6(sweep, settings=("s16-lr0.5",))


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


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(1, 1000, [1, 10, 100, 1000]), (2, 40, [3, 10, 30]), (2.1, 8, [3, 4, 5, 6, 8]),
     (0.02, 0.9, [0.03, 0.1, 0.3])],
)  # fmt: skip
def test_ticks_are_round_numbers(low: float, high: float, ticks: list[float]) -> None:
    assert log_ticks(low, high) == pytest.approx(ticks)
    written = ["0.03", "1000", "10000", r"$2\cdot10^{-4}$", "$10^{6}$"]
    assert [plain_number(v) for v in (0.03, 1000, 1e4, 0.0002, 1e6)] == written


def test_labels_keep_off_marks_lines_and_each_other() -> None:
    """Five marks in a heap and a line through them: each text has a place of its own."""
    figure, (axes,) = panels(1, 1, (6.0, 4.0))
    axes.set(xlim=(0, 10), ylim=(0, 10))
    places = [(5.0, 5.0), (5.2, 5.1), (5.1, 4.9), (4.9, 5.2), (5.3, 5.3)]
    line = np.array([[0.0, 5.0], [10.0, 5.0]])
    written = place_labels(axes, places, list("12345"), lines=[line], reach=14.0)
    middles = np.array([text.mean(axis=0) for text in written])
    apart = np.linalg.norm(middles[:, None] - middles[None], axis=-1) + 99 * np.eye(5)
    assert apart.min() > 9  # points: the size of the text
    box = 72 * np.array(figure.get_size_inches()) * axes.get_position().size
    assert (np.abs(middles[:, 1] - 0.5 * box[1]) > 4.5).all()
    assert ((middles > 0) & (middles < box)).all()
    left = place_labels(axes, places[:1], ["x"], towards=(0.75 * np.pi, 1.25 * np.pi))
    assert left[0][0, 0] < 0.5 * box[0]


def test_ticks_of_less_than_a_factor_are_even_steps() -> None:
    assert log_ticks(3.1, 4.7) == pytest.approx([3.5, 4.0, 4.5])
    assert len(log_ticks(2.05, 2.29)) >= 3


def test_long_names_of_policies_fit() -> None:
    assert setting_label("s8-to-32-MS-lr0.03") == "s8-to-32-MS-lr0.03"
    beacon = "beacon:runs/a-b/beacons.json@8174ef81e858-lr0.03"
    assert setting_label(beacon) == "beacon 8174ef-lr0.03"
    assert setting_label("s8-norm-test+bounds:max=128+linear-lr0.03").split("\n") == [
        "s8-norm-test", "+bounds:max=128", "+linear-lr0.03",
    ]  # fmt: skip
