"""Successive halving within a budget: which settings train on, and how far. What `choose` does.

All train for a few epochs of the full schedule, the best third of them three times as far, and so on; the
last one is finished. Each comparison is of one metric at one epoch
(Jamieson & Talwalkar 2016, Li et al. 2018).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fisherscope.analysis.data.settings import FloatArray
from fisherscope.analysis.errors import AnalysisError

KEPT = 3
"""Of so many settings one goes on; more are dropped only where the budget does not pay for that."""
ROUNDING = 1e-9
"""Of a budget that was reckoned from a share."""


@dataclass(frozen=True)
class Rung:
    """So many settings are trained up to an epoch, and compared there."""

    settings: int
    epoch: int


@dataclass(frozen=True)
class HalvingPlan:
    """The rungs of a budget; the last one is one setting at the end of its schedule.

    Args:
        rungs: With fewer settings and more epochs each.
        allowed: Epochs that may be spent.
    """

    rungs: tuple[Rung, ...]
    allowed: float

    @property
    def epochs(self) -> int:
        """Length of the schedule."""
        return self.rungs[-1].epoch

    @property
    def cost(self) -> int:
        """Epochs of all rungs, where nothing diverges."""
        return _cost(self.rungs)


@dataclass(frozen=True)
class Round:
    """A comparison that has been made.

    Args:
        epoch: Where.
        order: Settings compared, best first, shape (m,); those that were lost before it last.
        values: Their metric, shape (m,); inf for the lost.
        kept: How many go on.
    """

    epoch: int
    order: NDArray[np.intp]
    values: FloatArray
    kept: int


@dataclass(frozen=True)
class HalvingState:
    """Where halving stands.

    Args:
        rounds: Comparisons made.
        todo: Settings to train next; empty at the end.
        until: Up to this epoch.
        chosen: The setting that was finished; None before, or where all were lost.
    """

    rounds: tuple[Round, ...]
    todo: tuple[int, ...]
    until: int
    chosen: int | None


def ladder(settings: int, epochs: int, allowed: float) -> HalvingPlan:
    """The rungs that a budget pays for, with as many epochs before the first comparison as it allows.

    Args:
        settings: How many there are.
        epochs: Length of the schedule.
        allowed: Epochs that may be spent, over all settings.

    Raises:
        AnalysisError: It does not pay for one epoch of each and the rest of one.
    """
    for share in range(KEPT, max(settings, KEPT) + 1):
        made = [_rungs(settings, epochs, first, share) for first in range(1, epochs + 1)]
        paid = [rungs for rungs in made if _cost(rungs) <= allowed + ROUNDING]
        if paid:
            return HalvingPlan(paid[-1], allowed)
    raise AnalysisError(
        f"choosing among {settings} settings of {epochs} epochs within {allowed:.0f} epochs: one epoch of "
        f"each and the rest of the best takes {settings + epochs - 1}; give a budget of at least "
        f"{math.ceil(100 * (settings + epochs - 1) / (settings * epochs))}%, or fewer settings"
    )


def standing(metric: FloatArray, lost: NDArray[np.bool_], plan: HalvingPlan) -> HalvingState:
    """What halving has compared, and what it needs next, from what has been recorded so far.

    Args:
        metric: Shape (n, epochs + 1), index 1 the epoch, smaller is better; NaN where it is not there yet,
            inf where it is not finite.
        lost: Shape (n,): runs that will not go on (diverged, failed).
        plan: Its rungs.
    """
    alive, rounds = np.arange(len(metric)), list[Round]()
    for rung, following in zip(plan.rungs, plan.rungs[1:], strict=False):
        values = metric[alive, rung.epoch]
        missing = np.isnan(values)
        if waiting := alive[missing & ~lost[alive]].tolist():
            return HalvingState(tuple(rounds), tuple(waiting), rung.epoch, None)
        values = np.where(missing, np.inf, values)
        order = np.argsort(values, kind="stable")
        kept = min(following.settings, int(np.isfinite(values).sum()))
        rounds.append(Round(rung.epoch, alive[order], values[order], kept))
        alive = alive[order[:kept]]
    return _finished(metric, lost, plan, rounds)


def play(metric: FloatArray, plan: HalvingPlan) -> tuple[int | None, FloatArray]:
    """Halving on recorded runs: the setting chosen, and the epochs that each was trained, shape (n,).

    Args:
        metric: As for `standing`, to the end; NaN after a run was lost.
        plan: Its rungs.
    """
    there = _reached(metric)
    trained = np.zeros(len(metric), dtype=np.int64)
    while True:
        seen = np.where(np.arange(metric.shape[1]) <= trained[:, None], metric, math.nan)
        now = standing(seen, trained > there, plan)
        if not now.todo:
            return now.chosen, np.minimum(trained, there).astype(np.float64)
        trained[list(now.todo)] = now.until


def _finished(
    metric: FloatArray, lost: NDArray[np.bool_], plan: HalvingPlan, rounds: list[Round]
) -> HalvingState:
    """The best of the last comparison is finished; where it is lost there, the next that is paid for."""
    order = rounds[-1].order[np.isfinite(rounds[-1].values)] if rounds else np.arange(len(metric))
    reached = _reached(metric)
    for k in order.tolist():
        if np.isfinite(metric[k, plan.epochs]):
            return HalvingState(tuple(rounds), (), plan.epochs, k)
        left = plan.epochs - reached[k]
        if left and not lost[k] and reached.sum() + left <= plan.allowed + ROUNDING:
            return HalvingState(tuple(rounds), (k,), plan.epochs, None)
    return HalvingState(tuple(rounds), (), plan.epochs, None)


def _reached(metric: FloatArray) -> NDArray[np.int64]:
    """Epochs that each setting has been trained, shape (n,)."""
    return np.asarray((~np.isnan(metric[:, 1:])).sum(axis=1), dtype=np.int64)


def _rungs(settings: int, epochs: int, first: int, share: int) -> tuple[Rung, ...]:
    rungs = [Rung(settings, first)]
    while rungs[-1].settings > 1 and rungs[-1].epoch < epochs:
        rungs.append(Rung(max(1, rungs[-1].settings // share), min(rungs[-1].epoch * share, epochs)))
    several = rungs[-1].settings > 1  # they are finished, and compared at the end
    return (*(rungs if several else rungs[:-1]), Rung(1, epochs))


def _cost(rungs: tuple[Rung, ...]) -> int:
    done, cost = 0, 0
    for rung in rungs:
        cost += rung.settings * (rung.epoch - done)
        done = rung.epoch
    return cost
