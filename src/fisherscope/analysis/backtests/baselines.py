"""Ways to choose a setting within a budget of epochs, played on a recorded sweep. All costs count."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fisherscope.analysis.data.settings import FloatArray
from fisherscope.analysis.errors import AnalysisError
from fisherscope.analysis.selection.successive_halving import KEPT, ladder
from fisherscope.analysis.selection.successive_halving import play as play_halving
from fisherscope.analysis.selection.surrogate import (
    PREDICTORS,
    WITH,
    WITHOUT,
    LearningCurves,
    left_out_error,
    next_setting,
    ordering,
)

AUTO = "auto"
"""Screening that adds (C̄, L) where left-out beacons say so: what `select` does."""
BRACKETS = 3


@dataclass(frozen=True)
class Play:
    """What one rival did.

    Args:
        chosen: Index of the setting; None where the budget did not allow a choice.
        trained: Epochs it paid for, by setting, shape (n,).
    """

    chosen: int | None
    trained: FloatArray


Rival = Callable[[LearningCurves, int, float, int, np.random.Generator], Play]
"""(recorded, seed, budget in epochs, screening epoch, numbers) → play; it sees that seed only."""


def screening(
    recorded: LearningCurves,
    seed: int,
    budget: float,
    epoch: int,
    numbers: np.random.Generator,
    *,
    predictor: str,
) -> Play:
    """Train all to an epoch, finish beacons one by one, choose by the forecast."""
    count, epochs = len(recorded.grid), recorded.epochs
    there = np.isfinite(recorded.early("metric", epoch, np.array([seed])))
    trained = np.where(there, float(epoch), _reached(recorded, seed, epoch))
    if trained.sum() > budget:
        return Play(None, np.zeros(count))
    final = np.full(count, math.nan)
    ways = (WITHOUT, WITH) if predictor == AUTO else (predictor,)
    tables = [recorded.features(way, epoch, np.array([seed])) for way in ways]
    name = ordering(ways[0])
    early = None if name is None else recorded.early(name, epoch, np.array([seed]))
    while trained.sum() + epochs - epoch <= budget:
        k = next_setting(_better(tables, final), final, there, early)
        if k is None:
            break
        final[k] = recorded.final[k, seed]
        trained[k] = epochs
    return Play(_choice(final, there, early), trained)


def early_metric(
    recorded: LearningCurves, seed: int, budget: float, epoch: int, numbers: np.random.Generator
) -> Play:
    """Train all as far as the budget goes, take the best there."""
    count = len(recorded.grid)
    reach = min(int(budget // count), recorded.epochs)
    if reach < 1:
        return Play(None, np.zeros(count))
    return Play(_lowest(recorded.values["metric"][:, seed, reach]), np.full(count, float(reach)))


def successive_halving(
    recorded: LearningCurves, seed: int, budget: float, epoch: int, numbers: np.random.Generator
) -> Play:
    """What `fisherscope choose` does: drop two of three at each comparison, finish the last."""
    return _halved(recorded, seed, np.arange(len(recorded.grid)), budget)


def hyperband(
    recorded: LearningCurves, seed: int, budget: float, epoch: int, numbers: np.random.Generator
) -> Play:
    """Brackets of successive halving over random subsets, fewer settings for longer (Li et al. 2018)."""
    count = len(recorded.grid)
    subsets = [
        numbers.choice(count, max(1, count // KEPT**bracket), replace=False) for bracket in range(BRACKETS)
    ]
    plays = [_halved(recorded, seed, subset, budget / BRACKETS) for subset in subsets]
    ends = np.full(count, math.nan)
    for play in plays:
        if play.chosen is not None:
            ends[play.chosen] = recorded.final[play.chosen, seed]
    return Play(_lowest(ends), np.sum([play.trained for play in plays], axis=0))


def random_search(
    recorded: LearningCurves, seed: int, budget: float, epoch: int, numbers: np.random.Generator
) -> Play:
    """As many random settings as can be trained to the end, the best of them."""
    count = len(recorded.grid)
    size = min(int(budget // recorded.epochs), count)
    trained = np.zeros(count)
    if not size:
        return Play(None, trained)
    picked = numbers.choice(count, size, replace=False)
    trained[picked] = recorded.epochs
    final = np.full(count, math.nan)
    final[picked] = recorded.final[picked, seed]
    return Play(_lowest(final), trained)


RIVALS: Mapping[str, Rival] = {
    AUTO: partial(screening, predictor=AUTO),
    **{name: partial(screening, predictor=name) for name in PREDICTORS},
    "best early metric": early_metric,
    "successive halving": successive_halving,
    "hyperband": hyperband,
    "random": random_search,
}


def _choice(final: FloatArray, there: NDArray[np.bool_], early: FloatArray | None) -> int | None:
    """The best beacon that ended; without one the lowest early figure. A forecast is never chosen unseen."""
    if np.isfinite(final).any():
        return _lowest(final)
    return None if early is None else _lowest(np.where(there & ~np.isinf(final), early, math.nan))


def _better(tables: list[FloatArray], final: FloatArray) -> FloatArray:
    """The features that predict left-out beacons better; the first unless another is."""
    if len(tables) == 1:
        return tables[0]
    ended = np.where(np.isinf(final), math.nan, final)
    errors = [left_out_error(table, ended) for table in tables]
    return tables[1] if errors[1] < errors[0] else tables[0]


def _lowest(values: FloatArray) -> int | None:
    usable = np.isfinite(values)
    return int(np.argmin(np.where(usable, values, np.inf))) if usable.any() else None


def _reached(recorded: LearningCurves, seed: int, epoch: int) -> FloatArray:
    """Epochs of each run up to the screening epoch, fewer where it diverged before."""
    there = np.isfinite(recorded.values["metric"][:, seed, 1 : epoch + 1])
    return np.asarray(there.sum(axis=1), dtype=np.float64)


def _halved(recorded: LearningCurves, seed: int, settings: NDArray[np.intp], budget: float) -> Play:
    trained = np.zeros(len(recorded.grid))
    try:
        plan = ladder(len(settings), recorded.epochs, budget)
    except AnalysisError:  # the budget does not pay for it
        return Play(None, trained)
    chosen, trained[settings] = play_halving(recorded.values["metric"][settings, seed], plan)
    return Play(None if chosen is None else int(settings[chosen]), trained)
