"""From a run to a reference: planted slopes, equal epochs, what such advice is worth, bad input."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from experiments.navigation.__main__ import BATCH_NORM, OUT, between_sweeps, load_map, within_sweep
from tests.cases.planted_sweep import Truth, write
from tests.cases.said_by_verbs import said

import fisherscope as fs
from fisherscope.analysis import AnalysisError
from fisherscope.analysis.navigation.leave_one_out import navigation_backtest
from fisherscope.analysis.navigation.slopes import Map, local_slopes, suggested_move

FOUND = json.loads(OUT.read_text())


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    truth = Truth(seeds=2, epochs=4, seed_noise=0.001, step_noise=0.01, unfinished={"s8-lr0.05": 2})
    return write(tmp_path_factory.mktemp("sweep"), truth)


def grid(slopes: np.ndarray) -> Map:
    coordinates = np.array([(b, a) for b in range(3, 8) for a in range(-5, -1)], dtype=np.float64)
    return Map(coordinates, coordinates @ slopes.T + 1.0)


SLOPES = np.array([[0.8, 0.2], [-0.5, 1.0]])


def test_a_plane_has_its_slopes_and_the_move_inverts_them() -> None:
    settings = grid(SLOPES)
    start, end = settings.coordinates[2], settings.coordinates[13]
    np.testing.assert_allclose(local_slopes(settings, start), SLOPES, atol=1e-9)
    np.testing.assert_allclose(suggested_move(settings, start, SLOPES @ (end - start)), end, atol=1e-6)
    outside = suggested_move(settings, start, SLOPES @ np.array([99.0, 0.0]))
    assert (outside <= settings.coordinates.max(axis=0)).all()  # never beyond what was tried


def test_one_learning_rate_alone_is_kept() -> None:
    settings = Map(*(part[::4] for part in grid(SLOPES)))
    start = settings.coordinates[0]
    np.testing.assert_allclose(local_slopes(settings, start)[:, 1], 0.0)
    target = suggested_move(settings, start, SLOPES @ np.array([2.0, 0.0]))
    np.testing.assert_allclose(target, start + np.array([2.0, 0.0]), atol=1e-6)


def test_advice_is_right_where_the_plane_is_and_the_error_follows_it() -> None:
    settings = grid(SLOPES)
    best = settings.coordinates[9]
    scores = np.abs(settings.coordinates - best).sum(axis=1)
    found = navigation_backtest(settings, scores, margin=1.0)
    assert found is not None
    assert found.pairs == 5 * 19
    assert found.navigated == pytest.approx(found.copied, abs=0.05)
    assert found.navigated > 0.9 > 0.6 > found.random
    shuffled = Map(settings.coordinates, np.random.default_rng(0).normal(size=settings.positions.shape))
    lost = navigation_backtest(shuffled, scores, margin=1.0)
    assert lost is not None
    assert lost.navigated < 0.6 < lost.copied
    assert lost.copying_is_better
    assert navigation_backtest(Map(*(part[:5] for part in settings)), scores[:5], 1.0) is None


def test_a_planted_sweep_is_navigated(sweep: Path) -> None:
    found = fs.navigate("s8-lr0.025", to="s32-lr0.1", runs=sweep)
    assert found.batch_size is not None and found.lr is not None  # noqa: PT018
    assert found.batch_size.value == pytest.approx(32, rel=0.15)
    assert found.lr.value == pytest.approx(0.1, rel=0.15)
    assert found.batch_size.low <= found.batch_size.value <= found.batch_size.high
    assert (found.nearest, found.copied, found.epoch) == ("s32-lr0.1", "s32-lr0.1", 4)
    assert found.left < 0.05 < found.distance
    slopes = {(row["measure"], row["coordinate"]): row["slope"] for row in found.slopes.to_dicts()}
    assert slopes["fisher/cond_mean", "batch size"] == pytest.approx(0.8, abs=0.05)
    assert slopes["fisher/energy_sum", "learning rate"] == pytest.approx(1.05, abs=0.05)
    landscape = fs.landscape(sweep).points
    x = dict(landscape.select("setting", "x").iter_rows())
    assert found.gaps[0] == pytest.approx(math.log2(x["s32-lr0.1"] / x["s8-lr0.025"]), abs=1e-6)
    assert json.dumps(found.answer())


def test_ways_are_compared_at_equal_epochs_of_runs_and_directories(sweep: Path) -> None:
    runs = fs.load_runs(sweep)
    mine, other = (next(r for r in runs.paths if r.startswith(name)) for name in ("s8-lr0.05-", "s64-lr0.2-"))
    found = fs.navigate(runs.paths[mine], to=runs.paths[other])
    assert (found.run, found.epoch) == (mine, 2)  # the unfinished one's last
    assert found.ways["epoch"].to_list() == [1, 2]
    epochs = runs.epochs.to_dicts()
    value = {(row["run_id"], row["epoch"]): row["fisher/cond_mean"] for row in epochs}
    assert found.ways["x_reference"].to_list() == pytest.approx([value[other, 1], value[other, 2]])
    itself = fs.navigate(mine, to=mine, runs=sweep)
    assert itself.distance == pytest.approx(0)


def test_bad_input_is_told(sweep: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "task", Truth(seeds=1, epochs=4, task="planted/other", batch_sizes=(8,)))
    longer = write(tmp_path / "longer", Truth(seeds=1, epochs=6, batch_sizes=(8,), lrs=(0.1,)))
    mine = next(iter(fs.load_runs(sweep).paths.values()))
    with pytest.raises(AnalysisError, match=r"trains planted/task, the reference planted/other.*copy"):
        fs.navigate(mine, to=next(iter(fs.load_runs(other).paths.values())))
    reference = next(iter(fs.load_runs(longer).paths.values()))
    with pytest.raises(AnalysisError, match="planned for 4 epochs, the reference for 6"):
        fs.navigate(mine, to=reference)
    with pytest.raises(AnalysisError, match=r"did you mean s8-lr0\.1"):
        fs.navigate("s8-lr0.11", to="s8-lr0.1", runs=sweep)
    with pytest.raises(AnalysisError, match="neither is a run directory"):
        fs.navigate("s8-lr0.1", to="s16-lr0.1")
    with pytest.raises(AnalysisError, match="nonsense"):
        fs.navigate("s8-lr0.1", to="s16-lr0.1", runs=sweep, x="nonsense")
    few = write(tmp_path / "few", Truth(seeds=1, epochs=4, batch_sizes=(8, 16), lrs=(0.1,)))
    found = fs.navigate("s8-lr0.1", to="s16-lr0.1", runs=few)
    assert found.batch_size is None
    assert "No slopes: 2 fixed settings" in str(found)


def test_on_the_command_line(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("navigate", "s8-lr0.025", "--to", "s32-lr0.1", "--runs", sweep)
    text = said(monkeypatch, capsys, *words)
    assert "Back-test here (70 pairs" in text
    answer = json.loads(said(monkeypatch, capsys, *words, "--json"))
    assert answer["copied"] == "s32-lr0.1"
    told = said(monkeypatch, capsys, "navigate", "s8-lr0.025", "--to", "x", "--runs", sweep)
    assert told.endswith("[2]")


def test_the_committed_back_test_is_computed_again() -> None:
    loaded = {name: load_map(name) for name in (BATCH_NORM[0], BATCH_NORM[4])}
    within = {row["sweep"]: row for row in FOUND["within"]}
    again = {"sweep": BATCH_NORM[4], **within_sweep(*loaded[BATCH_NORM[4]])}
    assert again == pytest.approx(within[BATCH_NORM[4]], abs=1e-3)
    between = {(row["run"], row["reference"]): row for row in FOUND["between"]}
    found = between_sweeps(loaded[BATCH_NORM[0]], loaded[BATCH_NORM[4]])
    row = between[BATCH_NORM[0], BATCH_NORM[4]]
    assert found == pytest.approx({key: row[key] for key in found}, abs=1e-3)


def test_the_page_has_the_figures_of_the_back_test() -> None:
    page = " ".join((Path(__file__).parents[2] / "docs/analysis.md").read_text().split())
    sums = {
        key: sum(row[key] for row in FOUND["between"]) for key in ("navigated", "matched", "copied", "random")
    }
    words = (
        "in {matched:.0f} of 20 pairs, the advice in {navigated:.1f} on average over starting points, copying"
    )
    assert words.format(**sums) in page
    assert "(|B|, α) in {copied:.0f}, a random setting in {random:.1f}".format(**sums) in page

    def span(key: str) -> str:
        values = [100 * row[key] for row in FOUND["within"]]
        return f"{min(values):.0f} to {max(values):.0f} %"

    assert f"nearer to the reference than the run in {span('nearer')} of the pairs" in page
    assert f"within the margin of its error in {span('navigated')}" in page
    assert f"did so in {span('copied')}" in page
    assert f"A random setting is in {span('random')}" in page
    as_often = sum(row["copied"] >= row["navigated"] for row in FOUND["within"])
    assert as_often == 4
    assert "at least as often right on four of eight" in page
