"""Fit steps against samples to the same loss, and read the critical batch size off the fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from fisherscope.analysis.batch_size.noise_scale import fieller

FloatArray = NDArray[np.float64]
LEVEL = 0.9
"""Nominal coverage of the intervals."""
FEWEST_SIZES = 3
ROUNDING = 1e-9
"""Share of the samples below which those that the largest size costs more are rounding."""


@dataclass(frozen=True)
class TradeOff:
    """Hold the fit S = S_min (1 + B_crit/B) to the steps S that each batch size B takes to one loss.

    With E = B·S samples it is E = E_min + S_min·B, E_min = B_crit·S_min: a line in B, fitted with weights
    1/E² (equal relative errors).

    Source: McCandlish et al. 2018, An empirical model of large-batch training, eq. 2.11.

    Args:
        target: The loss.
        sizes: Batch sizes, samples.
        samples: Mean samples to the loss, by size.
        least_samples: E_min.
        least_steps: S_min.
        critical: B_crit, samples; NaN where it is not defined.
        low: Lower end of its interval.
        high: Upper end; infinite where larger batches can't be told to cost more samples.
        misfit: Root mean square of the samples' relative deviation from the line.
        why: Why there is no critical batch size; empty where there is one.
    """

    target: float
    sizes: tuple[int, ...]
    samples: tuple[float, ...]
    least_samples: float
    least_steps: float
    critical: float
    low: float
    high: float
    misfit: float
    why: str = ""

    @property
    def steps(self) -> tuple[float, ...]:
        """Mean optimizer steps to the loss, by size."""
        return tuple(samples / size for samples, size in zip(self.samples, self.sizes, strict=True))


@dataclass(frozen=True)
class EqualSamples:
    """Hold the largest size that loses less than a tolerance at equal samples.

    Source: Merrill et al. 2025, Critical batch size revisited, arXiv:2505.23971.

    Args:
        tolerance: Largest excess over the smallest size's loss.
        size: The size, interpolated in log B; the smallest or largest tried where it is censored.
        low: Lower end of its interval over the orders.
        high: Upper end.
        note: "at least" or "below" where it is censored, "inconclusive: …" where the tolerance is below two
            deviations between orders; else empty.
    """

    tolerance: float
    size: float
    low: float
    high: float
    note: str = ""


def smooth(losses: FloatArray) -> FloatArray:
    """Smooth curves, to be shown, by a line through each point and its two neighbours.

    Args:
        losses: (..., m), along the samples, evenly spaced.

    Returns:
        The same shape; a straight line stays as it is. Fewer than 3 points stay too.
    """
    if losses.shape[-1] < 3:
        return losses
    smoothed = losses.copy()
    smoothed[..., 1:-1] = (losses[..., :-2] + losses[..., 1:-1] + losses[..., 2:]) / 3
    smoothed[..., 0] = (5 * losses[..., 0] + 2 * losses[..., 1] - losses[..., 2]) / 6
    smoothed[..., -1] = (5 * losses[..., -1] + 2 * losses[..., -2] - losses[..., -3]) / 6
    return smoothed


def samples_to(target: float, lengths: FloatArray, ends: FloatArray) -> float:
    """Return the length at which a branch would end at a loss, each with its rate decayed to its own end.

    Args:
        target: The loss.
        lengths: (m,) lengths of branches, samples, increasing.
        ends: (m,) losses at their ends.

    Returns:
        Samples: linear in log n between neighbouring lengths, and beyond the outer ones along the nearest
        line; NaN where the ends do not fall on the line that is used.
    """
    inside = np.flatnonzero((ends[:-1] >= target) & (target >= ends[1:]))
    k = int(inside[0]) if len(inside) else (len(ends) - 2 if target < ends[-1] else 0)
    fall = ends[k] - ends[k + 1]
    if fall <= 0:
        return math.nan
    share = (ends[k] - target) / fall
    return float(lengths[k] * (lengths[k + 1] / lengths[k]) ** share)


def trade_off(target: float, sizes: Sequence[int], samples: Any, level: float = LEVEL) -> TradeOff:
    """Fit the trade-off to the samples that each size took to a loss, in each order of the data.

    The fit is linear in the samples, so each order has a fit of its own, and the interval is Fieller's of the
    ratio of the fits' means. To their covariance is added that of the mean curve's deviation from the line:
    the model's own error.

    Args:
        target: The loss.
        sizes: (s,) batch sizes.
        samples: (orders, s) samples to the loss.
        level: Nominal coverage.

    Returns:
        The fit; without a critical size, and with the reason, where there is none.
    """
    taken = np.asarray(samples, dtype=np.float64)
    orders, x = len(taken), np.asarray(sizes, dtype=np.float64)
    mean = taken.mean(0)
    design = np.stack([np.ones_like(x), x], 1) / mean[:, None]  # rows of relative weight
    solve = np.linalg.pinv(design)
    fits = (taken / mean) @ solve.T  # (orders, 2): E_min, S_min of each order
    least_samples, least_steps = (float(value) for value in fits.mean(0))
    residual = 1 - design @ fits.mean(0)
    freedom = max(len(x) - 2, 1)
    covariance = np.linalg.inv(design.T @ design) * float(residual @ residual) / freedom
    if orders > 1:
        covariance = covariance + np.cov(fits.T) / orders
    quantile = float(stdtrit(orders - 1, (1 + level) / 2)) if orders > 1 else math.inf
    low, high, critical, why = 0.0, math.inf, math.nan, ""
    if orders > 1:
        low, high = fieller(least_samples, least_steps, covariance, quantile)
    if least_steps * x[-1] <= ROUNDING * least_samples:
        why = "larger batches take no more samples to this loss: the gradient's noise does not limit them"
    elif least_samples <= 0:
        why = f"samples grow faster than the batch size: all sizes are above it, also {min(sizes)}"
    else:
        critical = least_samples / least_steps
    misfit = float(np.sqrt(np.mean(residual**2)))
    return TradeOff(
        target, tuple(sizes), tuple(float(e) for e in mean), least_samples, least_steps, critical, low, high,
        misfit, why,
    )  # fmt: skip


def equal_samples(sizes: Sequence[int], ends: Any, tolerance: float, level: float = LEVEL) -> EqualSamples:
    """Find the largest size that loses at most a tolerance against the smallest, at the branches' end.

    Args:
        sizes: (s,) batch sizes, increasing.
        ends: (orders, s) losses at the end.
        tolerance: In units of the loss.
        level: Nominal coverage of its interval.

    Returns:
        The size and its interval.
    """
    losses = np.asarray(ends, dtype=np.float64)
    excess, orders = losses - losses[:, :1], len(losses)
    mean = excess.mean(0)
    if orders == 1:
        size, censored = _last_within(sizes, mean, tolerance)
        return EqualSamples(tolerance, size, float(sizes[0]), float(sizes[-1]), censored)
    spread = excess.std(0, ddof=1)
    half = float(stdtrit(orders - 1, (1 + level) / 2)) * spread / math.sqrt(orders)
    size, note = _last_within(sizes, mean, tolerance)
    low, high = (_last_within(sizes, mean + sign * half, tolerance)[0] for sign in (1, -1))
    typical = float(np.sqrt(np.mean(spread[1:] ** 2)))
    if tolerance < 2 * typical:
        note = f"inconclusive: orders differ by {typical:.2g}, and the tolerance is below twice that"
    return EqualSamples(tolerance, size, low, high, note)


def _last_within(sizes: Sequence[int], excess: FloatArray, tolerance: float) -> tuple[float, str]:
    """Return the last size before the excess passes the tolerance, interpolated in log B."""
    beyond = np.flatnonzero(excess > tolerance)
    if not len(beyond):
        return float(sizes[-1]), "at least"
    k = int(beyond[0])
    if k == 0:
        return float(sizes[0]), "below"
    share = (tolerance - excess[k - 1]) / (excess[k] - excess[k - 1])
    return float(sizes[k - 1] * (sizes[k] / sizes[k - 1]) ** share), ""
