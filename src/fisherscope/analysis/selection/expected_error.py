"""Which setting to use, how sure that is, and which run would tell most."""

import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fisherscope.analysis.data.setting_grid import SettingGrid, seed_mean
from fisherscope.analysis.data.settings import FloatArray, RunsLike, Settings, settings_of
from fisherscope.analysis.errors import AnalysisError
from fisherscope.analysis.selection.result import Selection
from fisherscope.analysis.selection.surrogate import (
    FEWEST,
    PREDICTORS,
    WITH,
    WITHOUT,
    LearningCurves,
    expected_improvement,
    forecast,
    left_out_error,
    next_setting,
    ordering,
)
from fisherscope.analysis.stats.gaussian_process import GaussianProcess
from fisherscope.analysis.stats.hypothesis_tests import Z80


def select(
    runs: RunsLike,
    *,
    at_epoch: int | None = None,
    metric: str | None = None,
    predictor: str = "auto",
    task: str | None = None,
) -> Selection:
    """Expected final metric of every candidate, the set not to be told from the best, what to finish next.

    Settings that have finished count as measured; the others are predicted from an early epoch by a Gaussian
    process over the finished ones. Constant batch sizes only: schedules are compared in Table 1.

    Args:
        runs: From `load_runs`, or a directory.
        at_epoch: Where early features are read; by default the last epoch that every candidate has reached.
        metric: Column of the epochs; by default the validation metric.
        predictor: One of `PREDICTORS`; `auto` takes the early metric with (log B, log α), and adds (C̄_K, L_K)
            where that predicts left-out finished settings better.
        task: Which, where there are several.

    Raises:
        AnalysisError: No run, several tasks, no such metric or predictor, or no run has reached the epoch.
    """
    source = settings_of(runs, task=task)
    name, smaller = source.metric(metric)
    if predictor != "auto" and predictor not in PREDICTORS:
        raise AnalysisError(f"selecting: predictor={predictor!r} is none of auto, {', '.join(PREDICTORS)}")
    grid = SettingGrid.of(source, without_diverged=False)
    if not len(grid):
        raise AnalysisError(
            f"selecting among {source.describe()}: no setting has a constant batch size and a learning rate; "
            "schedules are compared by fisherscope table"
        )
    recorded = LearningCurves.of(grid, name, smaller)
    notes = list(source.notes)
    if name.startswith("test/"):
        notes.append("Chosen on the test set: log a validation metric, or the test error shown is too good.")
    final = _known_finals(recorded)
    candidates = ~np.isinf(final)
    epoch = _early_epoch(recorded, candidates, at_epoch, source)
    predictor, why = _predictor(recorded, predictor, epoch, final)
    notes += [why] if why else []
    features = recorded.features(predictor, epoch)
    mean, std, state = _expected(recorded, features, final, candidates, notes)
    early = recorded.early(ordering(predictor) or "metric", epoch)
    following = next_setting(features, final, candidates, early if np.isfinite(early).any() else None)
    table, distinguishable = _table(recorded, mean, std, state, source)
    top = table.filter(pl.col("expected").is_not_null() & (pl.col("state") != "diverged"))
    measured = top.filter(pl.col("state") == "finished")  # a forecast alone is never recommended over them
    recommended = str((measured if len(measured) else top)["setting"][0]) if len(top) else None
    if recommended is not None:
        notes += grid.edge_notes(recommended)
    chosen = None if following is None else grid.names[following]
    return Selection(
        table, recommended, _fastest(table, recommended), chosen, _run_of(source, chosen), distinguishable,
        predictor, epoch, name, int(source.frame["reached"].sum()), _all_epochs(source), source.task,
        tuple(notes),
    )  # fmt: skip


def _known_finals(recorded: LearningCurves) -> FloatArray:
    """Of the mean metric over the seeds that have ended; inf where one diverged, NaN where none has."""
    lost = np.isinf(recorded.final).any(axis=1)
    metric = recorded.shown(np.where(np.isinf(recorded.final), math.nan, recorded.final))
    return np.where(lost, math.inf, recorded.held(seed_mean(metric)))


def _early_epoch(
    recorded: LearningCurves, candidates: NDArray[np.bool_], asked: int | None, source: Settings
) -> int:
    there: NDArray[np.bool_] = np.asarray(np.isfinite(recorded.values["metric"][candidates]).any(axis=1))
    if not there.any():
        return asked or 0
    if asked is not None:
        if not 0 < asked < there.shape[1] or not there[:, asked].any():
            reached = [k for k in range(there.shape[1]) if there[:, k].any()]
            raise AnalysisError(
                f"selecting at epoch {asked} among {source.describe()}: no run has it; there are epochs "
                f"{min(reached)} to {max(reached)}"
            )
        return asked
    everywhere = np.flatnonzero(there.all(axis=0))
    return int(everywhere[-1]) if len(everywhere) else int(np.flatnonzero(there.any(axis=0))[0])


def _predictor(recorded: LearningCurves, asked: str, epoch: int, final: FloatArray) -> tuple[str, str]:
    """The predictor to use, and why."""
    if asked != "auto":
        return asked, ""
    if not np.isnan(final).any():
        return WITHOUT, ""
    if not np.isfinite(recorded.features("measures", epoch)[~np.isinf(final)]).all():
        return WITHOUT, ""
    ended = np.where(np.isinf(final), math.nan, final)
    errors = [left_out_error(recorded.features(p, epoch), ended) for p in (WITHOUT, WITH)]
    if not errors[1] < errors[0]:
        told = f"(left-out error {errors[1]:.3g} with them, {errors[0]:.3g} without)"
        return WITHOUT, "" if math.isnan(errors[0]) else f"(C̄, L) do not help here and are not used {told}."
    told = f"left-out error {errors[1]:.3g} with them, {errors[0]:.3g} without"
    return WITH, f"(C̄, L) are used: {told}."


def _expected(
    recorded: LearningCurves,
    features: FloatArray,
    final: FloatArray,
    candidates: NDArray[np.bool_],
    notes: list[str],
) -> tuple[FloatArray, FloatArray, list[str]]:
    """Mean and deviation of every setting's final metric, and where they come from."""
    mean, std = final.copy(), np.where(np.isnan(final), math.nan, 0.0)
    known = int(np.isfinite(final).sum())
    if np.isnan(final).any():
        if known >= FEWEST:
            found = forecast(features, final, candidates)
            mean, std = found.mean, found.std
        else:
            notes.append(
                f"{known} settings have finished; at least {FEWEST} are needed to predict the others."
            )
    noise = _seed_deviation(recorded, features, final)
    ended = np.isfinite(final)
    count = np.isfinite(recorded.final).sum(axis=1)
    std = np.where(ended, noise / np.sqrt(np.maximum(count, 1)), std)
    return mean, std, [_state(f, m) for f, m in zip(final.tolist(), mean.tolist(), strict=True)]


def _state(final: float, mean: float) -> str:
    if math.isinf(final):
        return "diverged"
    if math.isfinite(final):
        return "finished"
    return "predicted" if math.isfinite(mean) else "unknown"


def _seed_deviation(recorded: LearningCurves, features: FloatArray, final: FloatArray) -> float:
    """Deviation between seeds, pooled over settings; with one seed each, what a smooth surface leaves."""
    values = np.where(np.isfinite(recorded.final), recorded.final, math.nan)
    count = np.isfinite(values).sum(axis=1)
    freedom = int(np.maximum(count - 1, 0).sum())
    if freedom:
        square = np.nansum((values - seed_mean(values)[:, None]) ** 2)
        return math.sqrt(float(square) / freedom)
    known = np.isfinite(final) & np.isfinite(features).all(axis=1)
    if known.sum() < FEWEST:
        return math.nan
    return GaussianProcess.fit(features[known], final[known]).noise()


def _table(
    recorded: LearningCurves, mean: FloatArray, std: FloatArray, state: list[str], source: Settings
) -> tuple[pl.DataFrame, bool]:
    grid = recorded.grid
    usable = np.isfinite(mean)
    ended = usable & np.array([s == "finished" for s in state])
    best = int(np.argmin(np.where(ended if ended.any() else usable, mean, np.inf))) if usable.any() else None
    inside = np.zeros(len(grid), dtype=bool)
    gain = np.full(len(grid), math.nan)
    if best is not None:
        reach = Z80 * np.sqrt(np.nan_to_num(std) ** 2 + np.nan_to_num(std[best]) ** 2)
        inside = usable & (mean - mean[best] <= reach)
        predicted = np.array([s == "predicted" for s in state])
        gain = np.where(predicted, expected_improvement(mean, std, float(mean[best])), math.nan)
    low, high = mean - Z80 * std, mean + Z80 * std
    shown = [recorded.shown(values) for values in (mean, low, high)]
    if not recorded.smaller:
        shown = [shown[0], shown[2], shown[1]]
    reached = dict(source.frame.group_by("setting").agg(pl.col("reached").max()).iter_rows())
    counts = dict(source.frame.group_by("setting").agg(pl.len()).iter_rows())
    over = [s in ("finished", "diverged") for s in state]
    left = [0 if e else source.planned - int(reached[n]) for e, n in zip(over, grid.names, strict=True)]
    rows = [
        {
            "setting": name,
            "batch_size": int(grid.batch_sizes[k]),
            "lr": float(grid.lrs[k]),
            "state": state[k],
            **{c: _finite(shown[i][k]) for i, c in enumerate(("expected", "low", "high"))},
            "in_set": bool(inside[k]),
            "gain": _finite(gain[k]),
            "seconds": _finite(recorded.seconds[k] * source.planned),
            "left_epochs": left[k],
            "left_seconds": _finite(recorded.seconds[k] * left[k]),
            "seeds": int(counts[name]),
            "order": float(mean[k]) if usable[k] else math.inf,
        }
        for k, name in enumerate(grid.names)
    ]
    floats = dict.fromkeys(("expected", "low", "high", "gain", "seconds", "left_seconds"), pl.Float64)
    table = pl.DataFrame(rows, schema_overrides=floats).sort("order", maintain_order=True).drop("order")
    return table, bool((usable & ~inside).any()) or int(usable.sum()) == 1


def _fastest(table: pl.DataFrame, recommended: str | None) -> str | None:
    timed = pl.col("in_set") & pl.col("seconds").is_not_null()
    inside = table.filter(timed).sort("seconds", maintain_order=True)
    if recommended is None or not len(inside) or inside["setting"][0] == recommended:
        return None
    return str(inside["setting"][0])


def _run_of(source: Settings, setting: str | None) -> str | None:
    """The run of a setting that has come furthest without ending."""
    rows = source.frame.filter(
        pl.col("setting") == pl.lit(setting), ~pl.col("status").is_in(["finished", "diverged"])
    ).sort("reached", descending=True)
    return str(rows["run_id"][0]) if setting is not None and len(rows) else None


def _all_epochs(source: Settings) -> int:
    return int(source.frame["planned"].fill_null(source.planned).sum())


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
