"""Compare measuring every step with one in fifty: the error of C̄ (experiments/PREREGISTERED.md, point 4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fisherscope.analysis.data.settings import settings_of
from fisherscope.runs.reader import Runs

EVERY, DRAWS = 50, 200


def interval_rows(runs: Runs) -> Iterator[dict[str, Any]]:
    """Return a row a setting: log C̄ from one random step in `EVERY` minus log C̄ from all."""
    source = settings_of(runs)
    for (setting,), part in source.frame.group_by("setting", maintain_order=True):
        steps = source.steps.filter(pl.col("run_id").is_in(part["run_id"].to_list()))
        parts = [
            differences(run["fisher/cond"].to_numpy()) for _, run in steps.sort("step").group_by("run_id")
        ]
        every = np.concatenate(parts)
        count = len(steps) // len(part)
        yield {
            "setting": setting, "steps": count, "measured": 1 + (count - 2) // EVERY + 1, "runs": len(part),
            "arithmetic_bias": float(every[:, 0].mean()), "arithmetic_spread": float(every[:, 0].std(ddof=1)),
            "geometric_bias": float(every[:, 1].mean()), "geometric_spread": float(every[:, 1].std(ddof=1)),
        }  # fmt: skip


def differences(cond: NDArray[np.float64]) -> NDArray[np.float64]:
    """(draws, 2): log of the arithmetic and of the geometric mean, sparse minus dense."""
    numbers, cond = np.random.default_rng(0), np.where(np.isfinite(cond) & (cond > 0), cond, np.nan)
    whole = np.array([np.log(np.nanmean(cond)), np.nanmean(np.log(cond))])
    out = np.empty((DRAWS, 2))
    for k in range(DRAWS):
        chosen, weights = sparse(len(cond), numbers)
        picked, weight = cond[chosen], weights * np.isfinite(cond[chosen])
        weight = weight / weight.sum()
        out[k] = np.log(np.nansum(weight * picked)), np.nansum(weight * np.log(picked))
    return out - whole


def sparse(count: int, numbers: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Draw the first step and one of each `EVERY`; each weighs the steps since the one before."""
    starts = range(1, count, EVERY)
    drawn = [start + int(numbers.integers(min(EVERY, count - start))) for start in starts]
    chosen = np.array([0, *drawn])
    return chosen, np.diff(chosen, prepend=-1).astype(np.float64)
