"""Baseline strategies that choose a setting within an epoch budget, on recorded sweeps."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fisherscope.analysis.data.settings import FloatArray
from fisherscope.analysis.errors import AnalysisError
from fisherscope.analysis.selection.learning_curves import PREDICTORS, LearningCurves
from fisherscope.analysis.selection.successive_halving import REDUCTION, halving_plan, simulate_halving
from fisherscope.analysis.selection.surrogate import (
    WITH_MEASURES,
    WITHOUT_MEASURES,
    leave_one_out_error,
    next_setting,
    ordering,
)

AUTO = "auto"
"""Screening that adds (C̄, L) if they predict left-out beacons better: what `select` does."""
BRACKETS = 3


@dataclass(frozen=True)
class Trial:
    """The choice of one strategy and its cost.

    Args:
        chosen: Index of the setting; None if the budget did not allow a choice.
        trained: Epochs it paid for, by setting, shape (n,).
    """

    chosen: int | None
    trained: FloatArray


Strategy = Callable[[LearningCurves, int, float, int, np.random.Generator], Trial]
"""(curves, seed, budget in epochs, screening epoch, random generator) → trial; it sees that seed only."""


def screening(
    curves: LearningCurves,
    seed: int,
    budget: float,
    epoch: int,
    rng: np.random.Generator,
    *,
    predictor: str,
) -> Trial:
    """Train all to an epoch, finish settings one by one, choose the best that finished."""
    count, epochs = len(curves.grid), curves.epochs
    observed = np.isfinite(curves.feature("metric", epoch, np.array([seed])))
    epochs_trained = np.where(observed, float(epoch), _epochs_until(curves, seed, epoch))
    if epochs_trained.sum() > budget:
        return Trial(None, np.zeros(count))
    final = np.full(count, math.nan)
    predictors = (WITHOUT_MEASURES, WITH_MEASURES) if predictor == AUTO else (predictor,)
    tables = [curves.features(name, epoch, np.array([seed])) for name in predictors]
    name = ordering(predictors[0])
    early = None if name is None else curves.feature(name, epoch, np.array([seed]))
    while epochs_trained.sum() + epochs - epoch <= budget:
        k = next_setting(_better_features(tables, final), final, observed, early)
        if k is None:
            break
        final[k] = curves.final[k, seed]
        epochs_trained[k] = epochs
    return Trial(_choose(final, observed, early), epochs_trained)


def early_metric(
    curves: LearningCurves, seed: int, budget: float, epoch: int, rng: np.random.Generator
) -> Trial:
    """Train all as far as the budget allows, and take the best then."""
    count = len(curves.grid)
    last_epoch = min(int(budget // count), curves.epochs)
    if last_epoch < 1:
        return Trial(None, np.zeros(count))
    return Trial(_lowest(curves.values["metric"][:, seed, last_epoch]), np.full(count, float(last_epoch)))


def successive_halving(
    curves: LearningCurves, seed: int, budget: float, epoch: int, rng: np.random.Generator
) -> Trial:
    """Drop two of three at each comparison and finish the last: what `choose` does."""
    return _halve(curves, seed, np.arange(len(curves.grid)), budget)


def hyperband(
    curves: LearningCurves, seed: int, budget: float, epoch: int, rng: np.random.Generator
) -> Trial:
    """Run successive halving on random subsets, fewer settings for longer (Li et al. 2018)."""
    count = len(curves.grid)
    subsets = [
        rng.choice(count, max(1, count // REDUCTION**bracket), replace=False) for bracket in range(BRACKETS)
    ]
    trials = [_halve(curves, seed, subset, budget / BRACKETS) for subset in subsets]
    ends = np.full(count, math.nan)
    for trial in trials:
        if trial.chosen is not None:
            ends[trial.chosen] = curves.final[trial.chosen, seed]
    return Trial(_lowest(ends), np.sum([trial.trained for trial in trials], axis=0))


def random_search(
    curves: LearningCurves, seed: int, budget: float, epoch: int, rng: np.random.Generator
) -> Trial:
    """Train as many random settings as the budget allows, and take the best."""
    count = len(curves.grid)
    size = min(int(budget // curves.epochs), count)
    epochs_trained = np.zeros(count)
    if not size:
        return Trial(None, epochs_trained)
    subset = rng.choice(count, size, replace=False)
    epochs_trained[subset] = curves.epochs
    final = np.full(count, math.nan)
    final[subset] = curves.final[subset, seed]
    return Trial(_lowest(final), epochs_trained)


STRATEGIES: Mapping[str, Strategy] = {
    AUTO: partial(screening, predictor=AUTO),
    **{name: partial(screening, predictor=name) for name in PREDICTORS},
    "best early metric": early_metric,
    "successive halving": successive_halving,
    "hyperband": hyperband,
    "random": random_search,
}


def _choose(final: FloatArray, observed: NDArray[np.bool_], early: FloatArray | None) -> int | None:
    """Return the best setting that finished; if none has, the best early metric.

    A forecast alone is never chosen.
    """
    if np.isfinite(final).any():
        return _lowest(final)
    return None if early is None else _lowest(np.where(observed & ~np.isinf(final), early, math.nan))


def _better_features(tables: list[FloatArray], final: FloatArray) -> FloatArray:
    """Return the features that predict left-out settings better; the first if tied."""
    if len(tables) == 1:
        return tables[0]
    finished = np.where(np.isinf(final), math.nan, final)
    errors = [leave_one_out_error(table, finished) for table in tables]
    return tables[1] if errors[1] < errors[0] else tables[0]


def _lowest(values: FloatArray) -> int | None:
    usable = np.isfinite(values)
    return int(np.argmin(np.where(usable, values, np.inf))) if usable.any() else None


def _epochs_until(curves: LearningCurves, seed: int, epoch: int) -> FloatArray:
    """Return the epochs of each run up to the screening epoch, fewer if it diverged before."""
    observed = np.isfinite(curves.values["metric"][:, seed, 1 : epoch + 1])
    return np.asarray(observed.sum(axis=1), dtype=np.float64)


def _halve(curves: LearningCurves, seed: int, settings: NDArray[np.intp], budget: float) -> Trial:
    epochs_trained = np.zeros(len(curves.grid))
    try:
        plan = halving_plan(len(settings), curves.epochs, budget)
    except AnalysisError:  # the budget does not pay for it
        return Trial(None, epochs_trained)
    chosen, epochs_trained[settings] = simulate_halving(curves.values["metric"][settings, seed], plan)
    return Trial(None if chosen is None else int(settings[chosen]), epochs_trained)
