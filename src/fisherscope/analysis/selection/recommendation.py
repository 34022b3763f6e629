"""Turn expectations into a recommendation with its table of candidates.

The third phase of `select`.
"""

import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fisherscope.analysis.data.cost_model import NO_TIMES, Ratio, faster
from fisherscope.analysis.data.seed_means import dead_settings
from fisherscope.analysis.data.settings import FloatArray, Settings
from fisherscope.analysis.selection.grid_edges import edge_note, edges
from fisherscope.analysis.selection.learning_curves import LearningCurves, RecordedSweep
from fisherscope.analysis.selection.result import CLEARLY_FASTER, Selection
from fisherscope.analysis.selection.surrogate import Expectation, expected_improvement
from fisherscope.analysis.stats.hypothesis_tests import Z80
from fisherscope.runs.dead_network import DEAD


def recommend(sweep: RecordedSweep, expectation: Expectation) -> Selection:
    """Recommend the best setting that has finished; only if none has, the best expected one.

    Args:
        sweep: The runs and their curves.
        expectation: Expected final metrics of its settings.

    Returns:
        The recommendation with its evidence.
    """
    source, grid = sweep.source, sweep.curves.grid
    table, distinguishable = _table(sweep, expectation)
    recommended = _best_setting(table)
    notes = list(source.notes)
    if sweep.metric.startswith("test/"):
        notes.append("Chosen on the test set: log a validation metric, or the test error shown is too good.")
    notes += expectation.notes
    next_setting = None if expectation.next_setting is None else grid.names[expectation.next_setting]
    fastest, next_run = _fastest(table, recommended), _open_run(source, next_setting)
    time_note = _time_note(sweep.curves, fastest)
    speed_up = _speed_up(sweep.curves, table, recommended, fastest)
    if recommended is not None:
        position = grid.names.index(recommended)
        notes += [edge_note(*edge) for edge in edges(grid.batch_sizes, grid.lrs, position)]
    return Selection(
        table, recommended, fastest, next_setting, next_run, distinguishable,
        expectation.predictor, sweep.early.epoch, sweep.metric,
        int(source.frame["reached"].sum()), int(source.frame["planned"].fill_null(source.planned).sum()),
        source.task, tuple(notes), speed_up, time_note,
    )  # fmt: skip


def _best_setting(table: pl.DataFrame) -> str | None:
    """Return the first setting that finished, else the first expected one."""
    usable = table.filter(pl.col("expected").is_not_null() & (pl.col("state") != "diverged"))
    finished = usable.filter(pl.col("state") == "finished")
    best = finished if len(finished) else usable
    return str(best["setting"][0]) if len(best) else None


def _table(sweep: RecordedSweep, expectation: Expectation) -> tuple[pl.DataFrame, bool]:
    """Return a row per candidate, best first, and whether any differs from the best."""
    curves, source, mean, std = sweep.curves, sweep.source, expectation.mean, expectation.std
    grid, state = curves.grid, expectation.state
    usable = np.isfinite(mean)
    tied, gain = _comparison(expectation, usable)
    bounds = [mean, mean - Z80 * std, mean + Z80 * std]
    expected, low, high = (curves.as_metric(values) for values in bounds)
    if not curves.smaller:
        low, high = high, low
    if curves.share:
        low, high = np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)
    dead = dead_settings(source)
    states = [
        DEAD if name in dead and its == "finished" else its
        for name, its in zip(grid.names, state, strict=True)
    ]
    reached = dict(source.frame.group_by("setting").agg(pl.col("reached").max()).iter_rows())
    counts = dict(source.frame.group_by("setting").agg(pl.len()).iter_rows())
    rows = []
    for k, name in enumerate(grid.names):
        remaining = 0 if state[k] in ("finished", "diverged") else source.planned - int(reached[name])
        rows.append({
            "setting": name, "batch_size": int(grid.batch_sizes[k]), "lr": float(grid.lrs[k]),
            "state": states[k], "expected": _finite(expected[k]), "low": _finite(low[k]),
            "high": _finite(high[k]), "in_set": bool(tied[k]), "gain": _finite(gain[k]),
            "steps": None if curves.steps is None else _finite(curves.steps[k] * source.planned),
            "seconds": _finite(curves.seconds[k] * source.planned), "left_epochs": remaining,
            "left_seconds": _finite(curves.seconds[k] * remaining), "seeds": int(counts[name]),
            "order": float(mean[k]) if usable[k] else math.inf,
        })  # fmt: skip
    floats = dict.fromkeys(
        ("expected", "low", "high", "gain", "steps", "seconds", "left_seconds"), pl.Float64
    )
    table = pl.DataFrame(rows, schema_overrides=floats).sort("order", maintain_order=True).drop("order")
    return table, bool((usable & ~tied).any()) or int(usable.sum()) == 1


def _comparison(expectation: Expectation, usable: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], FloatArray]:
    """Return which settings are tied with the best, and expected improvements."""
    mean, std, state = expectation.mean, expectation.std, np.array(expectation.state)
    gain = np.full(len(mean), math.nan)
    if not usable.any():
        return np.zeros(len(mean), dtype=bool), gain
    finished = usable & (state == "finished")
    best = int(np.argmin(np.where(finished if finished.any() else usable, mean, np.inf)))
    half_width = Z80 * np.sqrt(np.nan_to_num(std) ** 2 + np.nan_to_num(std[best]) ** 2)
    tied = usable & (mean - mean[best] <= half_width)
    gain = np.where(state == "predicted", expected_improvement(mean, std, float(mean[best])), math.nan)
    return tied, gain


def _fastest(table: pl.DataFrame, recommended: str | None) -> str | None:
    """Return the fastest setting of the tied set, or that of fewest steps where no seconds are known.

    None if it is the recommended one, or has its batch size: then both take the same steps.
    """
    tied = table.filter(pl.col("in_set"))
    if recommended is None or not len(tied):
        return None
    row = table.filter(pl.col("setting") == recommended).to_dicts()[0]
    by = "steps" if row["seconds"] is None else "seconds"
    tied = tied.filter(pl.col(by).is_not_null()).sort(by, maintain_order=True)
    if not len(tied) or tied["batch_size"][0] == row["batch_size"]:
        return None
    return str(tied["setting"][0])


def _speed_up(
    curves: LearningCurves, table: pl.DataFrame, recommended: str | None, fastest: str | None
) -> Ratio | None:
    """Return how many times faster the fastest setting trains, with an interval; None if not clearly."""
    if curves.model is None or recommended is None or fastest is None:
        return None
    slow, fast = (
        curves.model.per_sample(float(table.filter(pl.col("setting") == name)["batch_size"][0]))
        for name in (recommended, fastest)
    )
    return faster(slow, fast, CLEARLY_FASTER)


def _time_note(curves: LearningCurves, fastest: str | None) -> str:
    """Say where times come from; empty if none is shown."""
    if curves.model is not None and np.isfinite(curves.seconds).any():
        return curves.model.note
    return NO_TIMES if fastest is not None else ""


def _open_run(source: Settings, setting: str | None) -> str | None:
    """Return the run of a setting that has come furthest without ending."""
    rows = source.frame.filter(
        pl.col("setting") == pl.lit(setting), ~pl.col("status").is_in(["finished", "diverged"])
    ).sort("reached", descending=True)
    return str(rows["run_id"][0]) if setting is not None and len(rows) else None


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
