"""Successive halving within a budget of epochs: which settings train on, and how far.

All settings train for a few epochs of the full schedule, the best third of them three times as far, and so
on; the last one is finished. Each comparison is of one metric at one epoch (Jamieson & Talwalkar 2016, Li et
al. 2018). Pure: arrays in, decisions out; `choose` and the back-test share it.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fisherscope.analysis.data.settings import FloatArray
from fisherscope.analysis.errors import AnalysisError

REDUCTION = 3
"""One setting in three survives a comparison; fewer only if the budget does not pay for that."""
ROUNDING = 1e-9
"""Rounding error of a budget that was computed from a share."""


@dataclass(frozen=True)
class Rung:
    """A number of settings that are trained up to an epoch, and compared there."""

    settings: int
    epoch: int


@dataclass(frozen=True)
class HalvingPlan:
    """The rungs of a budget; the last one is one setting at the end of its schedule.

    Args:
        rungs: Each with fewer settings and more epochs than the one before.
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
        """Epochs of all rungs if nothing diverges."""
        return _cost(self.rungs)


@dataclass(frozen=True)
class Round:
    """A comparison that has been made.

    Args:
        epoch: Epoch at which settings were compared.
        order: Settings compared, best first, shape (m,); those that were lost before it come last.
        values: Their metric, shape (m,); inf for the lost.
        survivors: Number of settings that train on.
    """

    epoch: int
    order: NDArray[np.intp]
    values: FloatArray
    survivors: int


@dataclass(frozen=True)
class HalvingState:
    """The comparisons that have been made, and what to train next.

    Args:
        rounds: Comparisons made.
        todo: Settings to train next; empty at the end.
        until: Epoch up to which they are trained.
        chosen: The setting that was finished; None before, or if all were lost.
    """

    rounds: tuple[Round, ...]
    todo: tuple[int, ...]
    until: int
    chosen: int | None


def halving_plan(settings: int, epochs: int, allowed: float) -> HalvingPlan:
    """Plan the rungs that a budget pays for, with the first comparison as late as it allows.

    Args:
        settings: Number of settings.
        epochs: Length of the schedule.
        allowed: Epochs that may be spent, over all settings.

    Returns:
        The rungs.

    Raises:
        AnalysisError: The budget does not pay for one epoch of each setting and the rest of one.
    """
    for reduction in range(REDUCTION, max(settings, REDUCTION) + 1):
        plans = [_rungs(settings, epochs, first, reduction) for first in range(1, epochs + 1)]
        affordable = [rungs for rungs in plans if _cost(rungs) <= allowed + ROUNDING]
        if affordable:
            return HalvingPlan(affordable[-1], allowed)
    raise AnalysisError(
        f"choosing among {settings} settings of {epochs} epochs within {allowed:.4g} epochs: one epoch of "
        f"each and the rest of the best takes {settings + epochs - 1}; give a budget of at least "
        f"{math.ceil(100 * (settings + epochs - 1) / (settings * epochs))}%, or fewer settings"
    )


def halving_state(metric: FloatArray, lost: NDArray[np.bool_], plan: HalvingPlan) -> HalvingState:
    """Return what halving has compared and what it needs next, from recorded metrics.

    Args:
        metric: Shape (n, epochs + 1), index 1 the epoch, smaller is better; NaN if it is not there yet,
            inf if it is not finite.
        lost: Shape (n,): runs that take no further part (diverged, failed).
        plan: The rungs.

    Returns:
        The comparisons made, and what to train next.
    """
    alive, rounds = np.arange(len(metric)), list[Round]()
    for rung, following in zip(plan.rungs, plan.rungs[1:], strict=False):
        values = metric[alive, rung.epoch]
        missing = np.isnan(values)
        if waiting := alive[missing & ~lost[alive]].tolist():
            return HalvingState(tuple(rounds), tuple(waiting), rung.epoch, None)
        values = np.where(missing, np.inf, values)
        order = np.argsort(values, kind="stable")
        survivors = min(following.settings, int(np.isfinite(values).sum()))
        rounds.append(Round(rung.epoch, alive[order], values[order], survivors))
        alive = alive[order[:survivors]]
    return _final_state(metric, lost, plan, rounds)


def simulate_halving(metric: FloatArray, plan: HalvingPlan) -> tuple[int | None, FloatArray]:
    """Run successive halving on recorded runs.

    Args:
        metric: As for `halving_state`, to the end; NaN after a run was lost.
        plan: The rungs.

    Returns:
        Index of the setting chosen (None if all were lost), and the epochs each was trained, shape (n,).
    """
    recorded = _epochs_of(metric)
    epochs = np.zeros(len(metric), dtype=np.int64)
    while True:
        so_far = np.where(np.arange(metric.shape[1]) <= epochs[:, None], metric, math.nan)
        state = halving_state(so_far, epochs > recorded, plan)
        if not state.todo:
            return state.chosen, np.minimum(epochs, recorded).astype(np.float64)
        epochs[list(state.todo)] = state.until


def _final_state(
    metric: FloatArray, lost: NDArray[np.bool_], plan: HalvingPlan, rounds: list[Round]
) -> HalvingState:
    """Finish the best of the last comparison; if it is lost, the next affordable one."""
    order = rounds[-1].order[np.isfinite(rounds[-1].values)] if rounds else np.arange(len(metric))
    epochs = _epochs_of(metric)
    for k in order.tolist():
        if np.isfinite(metric[k, plan.epochs]):
            return HalvingState(tuple(rounds), (), plan.epochs, k)
        remaining = plan.epochs - epochs[k]
        if remaining and not lost[k] and epochs.sum() + remaining <= plan.allowed + ROUNDING:
            return HalvingState(tuple(rounds), (k,), plan.epochs, None)
    return HalvingState(tuple(rounds), (), plan.epochs, None)


def _epochs_of(metric: FloatArray) -> NDArray[np.int64]:
    """Return how many epochs each setting has been trained, shape (n,)."""
    return np.asarray((~np.isnan(metric[:, 1:])).sum(axis=1), dtype=np.int64)


def _rungs(settings: int, epochs: int, first: int, reduction: int) -> tuple[Rung, ...]:
    rungs = [Rung(settings, first)]
    while rungs[-1].settings > 1 and rungs[-1].epoch < epochs:
        last = rungs[-1]
        rungs.append(Rung(max(1, last.settings // reduction), min(last.epoch * reduction, epochs)))
    several = rungs[-1].settings > 1  # they are finished, and compared at the end
    return (*(rungs if several else rungs[:-1]), Rung(1, epochs))


def _cost(rungs: tuple[Rung, ...]) -> int:
    before, cost = 0, 0
    for rung in rungs:
        cost += rung.settings * (rung.epoch - before)
        before = rung.epoch
    return cost
