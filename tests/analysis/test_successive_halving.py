"""Successive halving: what a budget buys, who goes on, and what an interruption or a lost run changes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fisherscope.analysis import AnalysisError
from fisherscope.analysis.selection.successive_halving import (
    HalvingPlan,
    Rung,
    halving_plan,
    halving_state,
    simulate_halving,
)


def naive_cost(count: int, first: int, epochs: int, share: int) -> int:
    """Epoch by epoch: who trains in each."""
    cost, alive, mark = 0, count, first
    for epoch in range(1, epochs + 1):
        cost += alive
        if epoch == mark:
            alive, mark = max(1, alive // share), mark * share
    return cost


@pytest.mark.parametrize("allowed", [38, 40, 64, 100, 300])
def test_the_first_comparison_is_as_late_as_the_budget_allows(allowed: int) -> None:
    plan = halving_plan(12, 20, allowed)
    assert plan.cost == naive_cost(12, plan.rungs[0].epoch, 20, 3) <= allowed
    later = [first for first in range(1, 21) if naive_cost(12, first, 20, 3) <= allowed]
    assert plan.rungs[0].epoch == max(later)


def test_ladders() -> None:
    rungs = [(r.settings, r.epoch) for r in halving_plan(36, 40, 288).rungs]
    assert rungs == [(36, 3), (12, 9), (4, 27), (1, 40)]
    tight = [(r.settings, r.epoch) for r in halving_plan(18, 10, 36).rungs]
    assert tight == [(18, 1), (4, 4), (1, 10)]  # a third would cost 41: a quarter goes on
    assert halving_plan(1, 5, 5).rungs == (Rung(1, 5),)
    assert halving_plan(4, 4, 16).rungs == (Rung(4, 4), Rung(1, 4))
    with pytest.raises(AnalysisError, match="takes 27; give a budget of at least 15%"):
        halving_plan(18, 10, 26)


@given(st.integers(1, 40), st.integers(1, 30), st.floats(0, 1))
def test_a_ladder_costs_what_is_allowed_and_ends(settings: int, epochs: int, share: float) -> None:
    allowed = settings + epochs - 1 + share * settings * epochs
    plan = halving_plan(settings, epochs, allowed)
    assert plan.cost <= allowed
    assert plan.rungs[-1] == Rung(1, epochs)
    assert all(
        a.settings >= b.settings and a.epoch <= b.epoch
        for a, b in zip(plan.rungs, plan.rungs[1:], strict=False)
    )


def falling(levels: list[float], epochs: int) -> np.ndarray:
    """Errors that keep their order; index 1 is the epoch."""
    return np.array([[math.nan, *(level + 1 / epoch for epoch in range(1, epochs + 1))] for level in levels])


PLAN = HalvingPlan((Rung(4, 1), Rung(2, 3), Rung(1, 6)), 20)


def test_the_best_at_each_comparison_go_on() -> None:
    chosen, trained = simulate_halving(falling([4, 2, 3, 1], 6), PLAN)
    assert chosen == 3
    assert trained.tolist() == [1, 3, 1, 6]


def test_a_setting_that_is_overtaken_is_dropped() -> None:
    metric = falling([4, 2, 3, 1], 6)
    metric[3, 3:] = 9.0
    chosen, trained = simulate_halving(metric, PLAN)
    assert chosen == 1
    assert trained.tolist() == [1, 6, 1, 3]


def test_stopped_anywhere_it_goes_on_as_if_it_had_not_been() -> None:
    """Whatever has been recorded, some runs further than others, the next step is one of the whole play."""
    whole = falling([4, 2, 3, 1], 6)
    _, trained = simulate_halving(whole, PLAN)
    numbers = np.random.default_rng(0)
    for _ in range(50):
        far = numbers.integers(0, trained + 1)
        seen = np.where(np.arange(7) <= far[:, None], whole, math.nan)
        now = halving_state(seen, np.zeros(4, dtype=bool), PLAN)
        assert all(far[k] < now.until <= trained[k] for k in now.todo)
        assert bool(now.todo) != (now.chosen == 3)


def test_lost_runs_rank_last_and_the_next_best_is_finished() -> None:
    metric = falling([4, 2, 3, 1], 6)
    metric[3, 5:] = math.nan  # diverged on the way to the end
    chosen, trained = simulate_halving(metric, PLAN)
    assert chosen == 1
    assert trained.tolist() == [1, 6, 1, 4]
    metric[:, 1:] = math.nan
    chosen, trained = simulate_halving(metric, PLAN)
    assert chosen is None
    assert trained.tolist() == [0, 0, 0, 0]


def test_a_lost_finalist_is_not_replaced_beyond_the_budget() -> None:
    metric = falling([4, 2, 3, 1], 6)
    metric[3, 6] = math.nan
    chosen, trained = simulate_halving(metric, HalvingPlan(PLAN.rungs, 11))
    assert chosen is None
    assert trained.sum() <= 11


def test_ties_keep_the_order_of_the_grid() -> None:
    assert simulate_halving(falling([1, 1, 1, 1], 6), PLAN)[0] == 0
