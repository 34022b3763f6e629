"""Which spectral measure is the best first axis: point 3 of experiments/PREREGISTERED.md, on one sweep."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fisherscope.analysis.data.setting_grid import SettingGrid, seed_mean
from fisherscope.analysis.data.settings import RunsLike, settings_of
from fisherscope.analysis.errors import AnalysisError
from fisherscope.analysis.selection.learning_curves import LearningCurves
from fisherscope.analysis.stats.gaussian_process import GaussianProcess
from fisherscope.analysis.stats.hypothesis_tests import residuals, spearman
from fisherscope.analysis.stats.resampling import stratified_tau

Array = NDArray[np.float64]
CANDIDATES = {
    "arithmetic mean of c": "fisher/cond_mean",
    "geometric mean of c": "fisher/cond_geomean",
    "median of c": "fisher/cond_median",
    "arithmetic, σ cut at 1e-3 σ_max": "cond_mean@relative:1e-3",
    "geometric, σ cut at 1e-3 σ_max": "cond_geomean@relative:1e-3",
    "arithmetic, σ cut at 1e-2 σ_max": "cond_mean@relative:1e-2",
    "geometric, σ cut at 1e-2 σ_max": "cond_geomean@relative:1e-2",
    "geometric, 99 % of the energy": "cond_geomean@energy:0.99",
    "arithmetic, any σ above 0": "cond_mean@exact",
    "c over blocks of 8, geometric": "cond_m8_geomean",
    "effective rank": "effective_rank_mean",
    "noise scale": "noise_scale",
}
ENERGY = "fisher/energy_sum"
ENOUGH = 0.8
"""Share of the settings for which a measure must be defined early."""


@dataclass(frozen=True)
class Half:
    """Two halves of a sweep's seeds; the same where there is one."""

    first: list[int]
    second: list[int]

    @classmethod
    def of(cls, seeds: int) -> Half:
        """Split the seeds: the first half decides, the other is judged on."""
        cut = max(1, seeds // 2)
        return cls(list(range(cut)), list(range(cut, seeds)) or [0])


def compared(runs: RunsLike, task: str | None = None) -> Iterator[dict[str, Any]]:
    """Return a row a candidate: τ with |B| and α, early rank stability, gain of a forecast."""
    source = settings_of(runs, task=task)
    metric, smaller = source.metric(None)
    grid = SettingGrid.of(source)
    half, epoch = Half.of(len(grid.seeds)), early_epoch(source.planned)
    recorded = LearningCurves.of(grid, metric, smaller)
    final = seed_mean(recorded.final[:, half.second])
    base = np.column_stack([recorded.feature("metric", epoch, np.array(half.first)), grid.coordinates])
    energy = seed_mean(grid.logs(ENERGY, epoch)[:, half.first])
    for name, column in CANDIDATES.items():
        try:
            early, late = grid.logs(column, epoch), grid.logs(column)
        except AnalysisError as error:
            yield {"measure": name, "why_not": str(error)}
            continue
        yield {"measure": name, "column": column, "epoch": epoch, "settings": len(grid)} | judged(
            grid, early, late, half, base, energy, final
        )


def early_epoch(planned: int) -> int:
    """Return the early epoch: a thirty-second of the schedule, at least 2."""
    return max(2, math.ceil(planned / 32))


def judged(
    grid: SettingGrid, early: Array, late: Array, half: Half, base: Array, energy: Array, final: Array
) -> dict[str, Any]:
    """Compute the figures (a) to (d) of one candidate."""
    ended, begun = seed_mean(late), seed_mean(early[:, half.first])
    other = seed_mean(late[:, half.second])
    return {
        "tau_batch": stratified_tau(ended, grid.batch_sizes, grid.strata("batch")),
        "tau_lr": stratified_tau(ended, grid.lrs, grid.strata("lr")),
        "stability": _spearman(begun, other),
        "stability_beyond_grid": _beyond(begun, other, grid.coordinates),
        "gain": gain(base, np.column_stack([begun, energy]), final),
        "rho_without": left_out_rho(base, final),
    }


def gain(base: Array, added: Array, final: Array) -> float:
    """ρ with the added features minus ρ without, on the settings that have both; NaN for too few of them."""
    there = np.isfinite(added).all(axis=1)
    if there.mean() < ENOUGH:
        return math.nan
    whole = np.column_stack([base, added])
    return left_out_rho(whole[there], final[there]) - left_out_rho(base[there], final[there])


def left_out_rho(features: Array, final: Array) -> float:
    """Spearman's ρ of final metrics with their forecasts from the other settings."""
    usable = np.flatnonzero(np.isfinite(features).all(axis=1) & np.isfinite(final))
    if len(usable) < 6:
        return math.nan
    forecasts = []
    for k in usable:
        rest = usable[usable != k]
        mean, _ = GaussianProcess.fit(features[rest], final[rest], features[usable]).predict(features[[k]])
        forecasts.append(mean[0])
    return spearman(np.array(forecasts), final[usable])


def _spearman(a: Array, b: Array) -> float:
    known = np.isfinite(a) & np.isfinite(b)
    return spearman(a[known], b[known])


def _beyond(a: Array, b: Array, coordinates: Array) -> float:
    """ρ of what a quadratic in (log B, log α) leaves of both."""
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < 9:
        return math.nan
    x, y = (coordinates[known] - coordinates[known].mean(axis=0)).T
    quadratic = np.column_stack([x, y, x * x, x * y, y * y])
    return spearman(residuals(a[known], quadratic), residuals(b[known], quadratic))
