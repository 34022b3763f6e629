"""Read from runs on disk how far successive halving has come."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from fisherscope.analysis.data.compared_metric import is_share
from fisherscope.analysis.data.run_measures import COND, ENERGY
from fisherscope.analysis.data.run_times import run_times
from fisherscope.analysis.data.settings import FloatArray
from fisherscope.analysis.selection.halving_result import Candidate, HalvingResult
from fisherscope.analysis.selection.successive_halving import HalvingPlan, halving_state
from fisherscope.runs.dead_network import dead_reasons
from fisherscope.runs.reader import Runs


def halving_from_runs(
    runs: Runs | None,
    candidates: Sequence[Candidate],
    plan: HalvingPlan,
    *,
    metric: str,
    smaller: bool = True,
    failed: Mapping[str, str] | None = None,
    samples: int | None = None,
) -> HalvingResult:
    """Return what halving has done so far, from the runs on disk alone (so it can resume).

    Args:
        runs: From `load_runs`; None before there is any. Runs that belong to no candidate are ignored.
        candidates: The settings, in the order of the grid.
        plan: From `halving_plan`.
        metric: Column of `runs.epochs` by which settings are compared.
        smaller: Whether smaller is better.
        failed: Why a run is excluded, by run id; diverged runs are excluded anyway.
        samples: Validation samples, for the noise of an error rate.

    Returns:
        The comparisons made, what to train next, and the setting recommended.
    """
    failed = failed or {}
    rows = {c.run_id: k for k, c in enumerate(candidates)}
    own = None if runs is None else runs.filter(pl.col("run_id").is_in(list(rows)))
    epochs = pl.DataFrame() if own is None else own.epochs
    diverged = [] if own is None else own.runs.filter(pl.col("status") == "diverged")["run_id"].to_list()

    def by_epoch(column: str) -> FloatArray:
        """Return (candidates, epochs + 1): infinite where not finite, NaN where missing."""
        out = np.full((len(rows), plan.epochs + 1), math.nan)
        if column in epochs.columns:
            for run_id, epoch, value in epochs.select("run_id", "epoch", column).iter_rows():
                out[rows[run_id], epoch] = math.inf if value is None or not math.isfinite(value) else value
        return out

    values = by_epoch(metric)
    smallest_first = np.where(np.isinf(values) | smaller, values, -values)
    dropped = dict.fromkeys(diverged, "") | dict(failed)
    excluded = np.array([c.run_id in dropped for c in candidates])
    steps, seconds = np.zeros(len(rows)), np.full(len(rows), math.nan)
    times = None if own is None else run_times(own)
    for run_id, step_count, step_seconds in (
        [] if times is None else times.frame.select("run_id", "steps", "seconds").iter_rows()
    ):
        steps[rows[run_id]], seconds[rows[run_id]] = (
            step_count,
            math.nan if step_seconds is None else step_seconds,
        )
    return HalvingResult(
        tuple(candidates), plan, halving_state(smallest_first, excluded, plan), metric, smaller, values,
        {name: by_epoch(name) for name in (COND, ENERGY)}, seconds,
        samples if is_share(metric, values) else None, steps, None if times is None else times.model,
        dropped, {run_id: why for run_id, why in dead_reasons(epochs).items() if run_id not in dropped},
    )  # fmt: skip
