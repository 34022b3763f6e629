"""Permutations within strata, random subsets and bootstraps; all repeatable."""

import itertools
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fisherscope.analysis.data.setting_grid import seed_mean
from fisherscope.analysis.data.settings import FloatArray
from fisherscope.analysis.stats.hypothesis_tests import kendall

PERMUTATIONS, BOOTSTRAPS = 2000, 1000
SEED = 20181023
"""Of every generator here: equal runs give equal verdicts."""

Strata = Sequence[NDArray[np.intp]]


def generator() -> np.random.Generator:
    """Return a fresh random generator with the fixed seed."""
    return np.random.default_rng(SEED)


def stratified_tau(values: FloatArray, along: FloatArray, strata: Strata) -> float:
    """Return the mean of Kendall's τ over the strata; NaN if there are none."""
    taus = [kendall(values[group], along[group]) for group in strata]
    defined = [tau for tau in taus if np.isfinite(tau)]
    return float(np.mean(defined)) if defined else float("nan")


def permuted_taus(values: FloatArray, along: FloatArray, strata: Strata) -> FloatArray:
    """Return `stratified_tau` of values shuffled within each stratum, (PERMUTATIONS,)."""
    numbers, total, count = generator(), np.zeros(PERMUTATIONS), 0
    for group in strata:
        left, right = (np.sign(np.subtract.outer(v[group], v[group])) for v in (values, along))
        scale = np.sqrt(np.abs(left).sum() * np.abs(right).sum())
        if not scale > 0:
            continue
        order = numbers.permuted(np.tile(np.arange(len(group)), (PERMUTATIONS, 1)), axis=1)
        signs = left[order[:, :, None], order[:, None, :]]
        total += np.einsum("pij,ij->p", signs, right) / scale
        count += 1
    return total / count if count else np.full(PERMUTATIONS, np.nan)


def seed_draws(values: FloatArray, draws: int = BOOTSTRAPS) -> FloatArray:
    """Return seed means of resampled seeds for each setting, (draws, n).

    Deviations from the setting's mean are stretched by sqrt(s/(s − 1)): a resample of s values has too
    little spread by that much.
    """
    numbers, mean = generator(), seed_mean(values)
    out = np.empty((draws, len(values)))
    for k, row in enumerate(values):
        defined = row[np.isfinite(row)]
        count = len(defined)
        if count < 2:
            out[:, k] = mean[k]
            continue
        resampled = (defined - mean[k])[numbers.integers(0, count, (draws, count))].mean(axis=1)
        out[:, k] = mean[k] + resampled * np.sqrt(count / (count - 1))
    return out


def setting_draws(count: int, statistic: Callable[[NDArray[np.intp]], float]) -> FloatArray:
    """Return a statistic of settings resampled with replacement, (BOOTSTRAPS,)."""
    numbers = generator()
    return np.array([statistic(numbers.integers(0, count, count)) for _ in range(BOOTSTRAPS)])


@lru_cache(maxsize=8)
def random_sets(count: int, size: int) -> NDArray[np.intp]:
    """Return subsets of `size` out of `count`: all if few, else PERMUTATIONS random ones."""
    if count <= 12:
        return np.array(list(itertools.combinations(range(count), size)), dtype=np.intp)
    numbers = generator()
    return np.array([numbers.choice(count, size, replace=False) for _ in range(PERMUTATIONS)], dtype=np.intp)


def share_at_or_below(draws: FloatArray, bound: float) -> float:
    """Return the share of bootstrap draws at or below a bound.

    It is a one-sided p-value of "above the bound", and never 0.
    """
    defined = draws[np.isfinite(draws)]
    return float((1 + np.sum(defined <= bound)) / (1 + len(defined))) if len(defined) else float("nan")
