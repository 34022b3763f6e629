"""Back-test of `navigate` on the committed sweeps: within each, and between networks with BatchNorm.

`python -m experiments.navigation`: writes experiments/results/navigation.json; two minutes.
"""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fisherscope.analysis.data.run_measures import COND, ENERGY
from fisherscope.analysis.data.setting_grid import SettingGrid, seed_mean
from fisherscope.analysis.data.settings import settings_of
from fisherscope.analysis.landscapes.plane import margin
from fisherscope.analysis.navigation.leave_one_out import navigation_backtest
from fisherscope.analysis.navigation.slopes import Map, suggested_move

RESULTS = Path(__file__).parents[1] / "results"
OUT = RESULTS / "navigation.json"
BATCH_NORM = ("digits-resnet8", "digits-densenet8", "digits5-resnet8", "digits2-resnet8", "mnist-resnet8")
SWEEPS = (*BATCH_NORM, "digits-mlp", "mnist-mlp", "mnist1000-mlp")


def main() -> None:
    """Test within and between sweeps, and write shares."""
    loaded = {name: load_map(name) for name in SWEEPS}
    within = [{"sweep": name, **within_sweep(*loaded[name])} for name in SWEEPS]
    between = [
        {"run": run, "reference": reference, **between_sweeps(loaded[run], loaded[reference])}
        for run, reference in permutations(BATCH_NORM, 2)
    ]
    result = {"within": within, "between": between}
    OUT.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n")


def load_map(name: str) -> tuple[Map, Any, float]:
    """Return positions at the end, validation errors and the margin of a sweep's settings."""
    source = settings_of(RESULTS / "sweeps" / f"{name}.zip")
    metric, _ = source.metric()
    grid = SettingGrid.of(source.where(pl.col("status") == "finished"))
    logs = np.column_stack([seed_mean(grid.logs(measure)) for measure in (COND, ENERGY)])
    scores = seed_mean(grid.values(metric))
    usable = np.isfinite(logs).all(axis=1) & np.isfinite(scores)
    best = float(scores[usable].min())
    return Map(grid.coordinates[usable], logs[usable]), scores[usable], margin(best, metric)


def within_sweep(settings: Map, scores: Any, allowed: float) -> dict[str, Any]:
    """Leave each of the best settings out as the reference."""
    found = navigation_backtest(settings, scores, allowed)
    assert found is not None
    return {key: round(value, 4) for key, value in vars(found).items()}


def between_sweeps(run: tuple[Map, Any, float], reference: tuple[Map, Any, float]) -> dict[str, Any]:
    """Take the best setting of another network as the reference of every setting of this one."""
    settings, scores, allowed = run
    others, other_scores, _ = reference
    best = int(np.argmin(other_scores))
    position, place = others.positions[best], others.coordinates[best]
    good = scores <= scores.min() + allowed
    moved = [
        good[nearest(settings, suggested_move(settings, start, position - mine))].mean()
        for start, mine in zip(settings.coordinates, settings.positions, strict=True)
    ]
    away = (((settings.positions - position) / settings.spread) ** 2).sum(axis=1)
    shares = {
        "navigated": np.mean(moved),
        "matched": float(good[int(np.argmin(away))]),
        "copied": good[nearest(settings, place)].mean(),
        "random": good.mean(),
    }
    return {key: round(float(value), 4) for key, value in shares.items()}


def nearest(settings: Map, target: Any) -> Any:
    """Return which settings are nearest to coordinates; all that are equally near."""
    square = (((settings.coordinates - target) / settings.reach) ** 2).sum(axis=1)
    return square <= square.min() + 1e-9


if __name__ == "__main__":
    main()
