"""The back-test of selection: costs, rivals and gains, on sweeps where it is known what helps."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.cases.planted_sweep import Truth, write

from fisherscope.analysis import AnalysisError, backtest, settings_of
from fisherscope.analysis.backtests.baselines import STRATEGIES
from fisherscope.analysis.backtests.predictive_power import GAINS
from fisherscope.analysis.backtests.result import Backtest
from fisherscope.analysis.data.setting_grid import SettingGrid
from fisherscope.analysis.selection.learning_curves import LearningCurves
from fisherscope.analysis.selection.surrogate import WITH_MEASURES, WITHOUT_MEASURES

PLAIN = Truth(seeds=2, epochs=20, bowl=0.02, early_noise=0.003, diverged=("s8-lr0.2",))
HIDDEN = Truth(
    seeds=2, epochs=10, bowl=0.0005, hidden=0.03, own=0.5, floor=0.15, early_noise=0.3, error_noise=0.001
)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("plain"), PLAIN)


@pytest.fixture(scope="module")
def found(plain: Path) -> Backtest:
    return backtest(plain, budgets=(0.2, 0.4))


def test_nobody_pays_more_than_the_budget(found: Backtest) -> None:
    for row in found.trials.iter_rows(named=True):
        assert row["epochs"] <= row["budget"] + 1e-9, row
    assert set(found.trials["rival"]) == set(STRATEGIES)
    assert (found.trials["regret"].drop_nulls() >= 0).all()


def test_regret_is_that_of_the_chosen_on_the_other_seed(plain: Path, found: Backtest) -> None:
    recorded = LearningCurves.of(
        SettingGrid.of(settings_of(plain), without_diverged=False), "val/error", True
    )
    final = recorded.final
    played = found.trials.filter(~found.trials["rival"].is_in(["random", "hyperband"])).drop_nulls("chosen")
    assert (played["regret"] > 0).any()
    for row in played.iter_rows(named=True):
        other = [math.exp(min(value, final[np.isfinite(final)].max())) for value in final[:, 1 - row["seed"]]]
        assert row["regret"] == pytest.approx(
            other[recorded.grid.names.index(row["chosen"])] - min(other), abs=1e-12
        )


def test_an_informative_early_metric_beats_chance(found: Backtest) -> None:
    rows = {(r["rival"], r["budget"]): r["regret"] for r in found.summary.iter_rows(named=True)}
    assert rows["metric+grid", 0.2] < rows["random", 0.2]
    assert rows["best early metric", 0.2] < rows["random", 0.2]
    assert "metric+grid" in str(found)


def test_screening_sees_its_own_seed_only(plain: Path) -> None:
    """Another seed's numbers may be anything: the play is the same."""
    recorded = LearningCurves.of(
        SettingGrid.of(settings_of(plain), without_diverged=False), "val/error", True
    )
    changed = {name: values.copy() for name, values in recorded.values.items()}
    for values in changed.values():
        values[:, 1] = np.random.default_rng(0).normal(size=values[:, 1].shape)
    final = recorded.final.copy()
    final[:, 1] = 0.0
    other = LearningCurves(recorded.grid, changed, final, True, True, recorded.seconds)
    for name, play in STRATEGIES.items():
        plays = [play(r, 0, 96.0, 1, np.random.default_rng(1)) for r in (recorded, other)]
        assert plays[0].chosen == plays[1].chosen, name
        np.testing.assert_array_equal(plays[0].trained, plays[1].trained)


def test_measures_gain_where_they_alone_know(tmp_path: Path) -> None:
    sweeps = {
        str(salt): write(tmp_path / str(salt), Truth(**{**HIDDEN.__dict__, "salt": salt}))
        for salt in range(3)
    }
    found = backtest(sweeps, budgets=(0.3,), at_epoch=2)
    rows = {
        (r["sweep"], r["mode"], r["predictor"]): r["rho"] for r in found.predictions.iter_rows(named=True)
    }
    for sweep in sweeps:
        assert (
            rows[sweep, "all others finished", WITH_MEASURES]
            > rows[sweep, "all others finished", WITHOUT_MEASURES] + 0.2
        )
    assert found.wins()[0] >= 2
    assert "Fewer than 6 sweeps" in str(found)


def test_no_gain_where_the_measures_know_nothing(found: Backtest) -> None:
    rows = found.gains.filter(found.gains["with"] == GAINS[0][0])
    assert rows["low"][0] <= 0


def test_an_easy_sweep_says_so(tmp_path: Path) -> None:
    easy = Truth(seeds=2, epochs=4, bowl=0.0, batch_sizes=(8, 16), error_noise=1e-5)
    found = backtest(write(tmp_path, easy), budgets=(0.5,))
    assert not found.sweeps["testable"][0]
    assert "cannot test selection" in str(found)


def test_gains_of_which_none_is_known_are_no_wins(found: Backtest) -> None:
    nothing = pl.lit(None)  # as with six settings, too few to predict one by the others
    assert replace(found, gains=found.gains.with_columns(gain=nothing, low=nothing)).wins() == (0, 0, 0)


def test_one_seed_and_unusable_sweeps(tmp_path: Path) -> None:
    one = write(tmp_path / "one", Truth(seeds=1, epochs=4, batch_sizes=(8, 16)))
    assert "one seed" in str(backtest(one, budgets=(0.5,)))
    few = write(tmp_path / "few", Truth(seeds=1, epochs=4, batch_sizes=(8,), task="few"))
    with pytest.raises(AnalysisError, match="6 are needed"):
        backtest(few)
    both = backtest(tmp_path, budgets=(0.5,))
    assert both.sweeps["sweep"].to_list() == ["planted/task"]
    assert any(note.startswith("few:") for note in both.notes)
