"""Claim 1: settings are separable in the (C̄_K, L_K) plane (Hotelling, nearest centroid)."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fisherscope.analysis.claim_tests.verdicts import Claim, Evidence
from fisherscope.analysis.data.setting_grid import SettingGrid, grid_text
from fisherscope.analysis.data.settings import FloatArray
from fisherscope.analysis.stats.hypothesis_tests import permutation_p
from fisherscope.analysis.stats.resampling import BOOTSTRAPS, generator

SEPARATE = 2.0
"""d′ at which two settings count as separate: their clouds of seeds overlap by 16 %."""


def claim_1_separability(grid: SettingGrid) -> Claim:
    """Test claim 1: smallest Hotelling distance of neighbours, leave-one-seed-out centroids."""
    text = "Every (|B|, α) has its own (C̄_K, L_K)"
    logs = np.stack([grid.logs(grid.x), grid.logs(grid.y)], axis=-1)  # (n, s, 2)
    complete: NDArray[np.bool_] = np.asarray(np.isfinite(logs).all(axis=(1, 2)))
    pairs = [(i, j) for i, j in grid.neighbours() if complete[i] and complete[j]]
    if logs.shape[1] < 2 or not pairs:
        return Claim(1, text, reason=f"Needs two seeds and two neighbours; found {grid_text(grid)}.")
    seeds, means = logs.shape[1], logs.mean(axis=1)
    within = (logs - means[:, None])[complete].reshape(-1, 2)
    freedom = int(complete.sum()) * (seeds - 1)
    covariance = within.T @ within / freedom
    if freedom < 3 or not np.linalg.det(covariance) > 1e-12 * np.prod(np.diagonal(covariance)):
        return Claim(
            1, text, reason="The seeds do not spread in two dimensions, so distances are not defined."
        )
    left, right = (np.array(side) for side in zip(*pairs, strict=True))
    distance = _mahalanobis_distance(means[left] - means[right], covariance)
    smallest = int(np.argmin(distance))
    slack = _largest_deviation(means, covariance, freedom, seeds, left, right, distance)
    low = distance[smallest] * math.exp(-float(np.quantile(slack, 1 - 0.05)))
    p = permutation_p(math.log(distance[smallest] / SEPARATE), slack)
    # (s/2)·d² is Hotelling's T²: noncentral F with 2 and freedom − 1 degrees (Bonferroni over the pairs)
    statistic = seeds / 2 * distance[smallest] ** 2 * (freedom - 1) / (2 * freedom)
    below = float(stats.ncf.cdf(statistic, 2, freedom - 1, seeds / 2 * SEPARATE**2))
    closest = " and ".join(grid.names[k] for k in pairs[smallest])
    name = f"smallest distance d′ of neighbours, {closest}"
    parts = (
        Evidence(
            name,
            float(distance[smallest]),
            low,
            math.inf,
            len(pairs),
            p,
            min(1.0, below * len(pairs)),
            SEPARATE,
        ),
        _accuracy(logs[complete], covariance),
    )
    return Claim(1, text, parts, f"'Separate' means d′ > {SEPARATE:g} for every pair (simultaneous bounds).")


def _mahalanobis_distance(difference: FloatArray, covariance: FloatArray) -> FloatArray:
    """Return the Mahalanobis length of differences (…, 2)."""
    out: FloatArray = np.sqrt(np.einsum("...i,...i->...", difference, difference @ np.linalg.inv(covariance)))
    return out


def _largest_deviation(
    means: FloatArray,
    covariance: FloatArray,
    freedom: int,
    seeds: int,
    left: NDArray[np.intp],
    right: NDArray[np.intp],
    distance: FloatArray,
) -> FloatArray:
    """Draw the largest log(d*/d) over the pairs from the fitted normal.

    It is the max-T distribution of the lower bounds.

    Returns:
        Shape (BOOTSTRAPS,).
    """
    numbers = generator()
    factor = np.linalg.cholesky(covariance)
    samples = means + numbers.normal(size=(BOOTSTRAPS, *means.shape)) @ factor.T / math.sqrt(seeds)
    covariances = stats.wishart.rvs(freedom, covariance / freedom, size=BOOTSTRAPS, random_state=numbers)
    inverse = np.linalg.inv(covariances)
    differ = samples[:, left] - samples[:, right]
    again = np.sqrt(np.einsum("dpi,dij,dpj->dp", differ, inverse, differ))
    out: FloatArray = np.log(again / np.maximum(distance, 1e-300)).max(axis=1)
    return out


def _accuracy(logs: FloatArray, covariance: FloatArray) -> Evidence:
    """Test leave-one-seed-out nearest-centroid accuracy against permuted labels."""
    white = logs @ np.linalg.inv(np.linalg.cholesky(covariance)).T
    numbers, flat = generator(), white.reshape(-1, 2)
    accuracy = _nearest_centroid(white)
    permutations = (flat[numbers.permutation(len(flat))].reshape(white.shape) for _ in range(200))
    chance = [_nearest_centroid(points) for points in permutations]
    p = permutation_p(accuracy, chance)
    name = "left-out seeds nearest to their own setting"
    return Evidence(name, accuracy, math.nan, math.nan, len(logs), p, beside=True)


def _nearest_centroid(points: FloatArray) -> float:
    """Return the share of left-out seeds that are nearest to their own setting."""
    count, seeds = points.shape[:2]
    right = 0
    for seed in range(seeds):
        centres = points[:, np.arange(seeds) != seed].mean(axis=1)
        distance = ((points[:, seed][:, None] - centres[None]) ** 2).sum(axis=-1)
        right += int((distance.argmin(axis=1) == np.arange(count)).sum())
    return float(right / (count * seeds))
