"""The gradient noise scale with a jackknife interval, from samples at fixed weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fisherscope.analysis.errors import AnalysisError
from fisherscope.measures import Gradients, norm_test

FloatArray = NDArray[np.float64]

FEWEST = 4
"""Blocks below which no interval is given."""


@dataclass(frozen=True)
class NoiseInterval:
    """The gradient noise scale tr Σ/|G|², in samples, with its interval.

    Args:
        variance: tr Σ, the trace of the per-sample gradients' covariance.
        signal: |G|², unbiased; it can be negative if the samples were too few to see the gradient.
        low: Lower end of the interval, samples.
        high: Upper end; infinite if the gradient is not distinguishable from zero.
        level: Nominal coverage.
        blocks: Independent blocks that the jackknife left out in turn.
        samples: Samples that were measured.
    """

    variance: float
    signal: float
    low: float
    high: float
    level: float
    blocks: int
    samples: int

    @property
    def scale(self) -> float:
        """The ratio of the means, samples; infinite if no signal was seen."""
        return self.variance / self.signal if self.signal > 0 else math.inf


def noise_interval(
    products: Any, size: int = 1, within: Any = None, correction: float = 1.0, level: float = 0.9
) -> NoiseInterval:
    """Estimate the noise scale and its interval from blocks of samples at the same weights.

    |G|² is the mean product over all pairs of samples, of one block and of two; tr Σ the variance within
    blocks if it is given, else `size` times the variance between them, which also holds if samples of
    a block are coupled (BatchNorm). Both are jackknifed by block, and the ratio's interval is Fieller's
    (1954): if the gradient is not distinguishable from zero, only a lower bound is given. One Gram alone
    is a special case, every sample a block: `noise_interval(gram)`.

    Args:
        products: (J, J) inner products of the blocks' mean gradients.
        size: Samples of a block.
        within: (J,) unbiased tr Σ̂ within each block; by default it is taken from between blocks.
        correction: 1 − n/N if a block consists of batches of n drawn without replacement from N samples
            (batches independent of each other): the variance of their means is smaller by that factor.
        level: Nominal coverage.

    Returns:
        The estimates and the interval, in samples.

    Raises:
        AnalysisError: There are fewer than 4 blocks, or a shape or value is impossible.

    Cost: O(J²). Source: McCandlish et al. 2018, appendix A.1, for the estimates.
    """
    from scipy.stats import t

    matrix = np.asarray(products, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < FEWEST:
        raise AnalysisError(
            f"estimating a noise scale: products of blocks have shape {matrix.shape}; expected (J, J) with "
            f"J of at least {FEWEST}, else there is no interval; measure more samples"
        )
    if not np.isfinite(matrix).all() or not 0 < correction <= 1:
        raise AnalysisError(
            "estimating a noise scale: expected finite products and a correction in (0, 1]; received "
            f"{int((~np.isfinite(matrix)).sum())} that are not finite, and correction={correction}"
        )
    count, diagonal, rows = len(matrix), np.diagonal(matrix), matrix.sum(1)
    inside = None if within is None else np.asarray(within, dtype=np.float64)
    whole = _parts(rows.sum(), diagonal.sum(), inside, count, size, correction)
    rest = None if inside is None else (inside.sum() - inside) / (count - 1)
    jackknife = _parts(
        rows.sum() - 2 * rows + diagonal, diagonal.sum() - diagonal, rest, count - 1, size, correction
    )
    pseudo = count * np.asarray(whole)[:, None] - (count - 1) * np.stack(jackknife)
    covariance = np.cov(pseudo) / count
    variance, signal = (float(value) for value in whole)
    low, high = fieller(variance, signal, covariance, float(t.ppf((1 + level) / 2, count - 1)))
    return NoiseInterval(variance, signal, low, high, level, count, count * size)


def _parts(total: Any, diagonal: Any, within: Any, count: int, size: int, correction: float) -> Any:
    """Return (tr Σ, |G|²) from sums over `count` blocks; `within` may be averages already."""
    if within is None:
        between = (total - diagonal) / (count * (count - 1))
        variance = size * (diagonal / count - between) / correction
    else:
        variance = np.mean(within) if np.ndim(total) == 0 else within
    return variance, total / count**2 - variance * correction / (count * size)


def fieller(
    numerator: float, denominator: float, covariance: FloatArray, quantile: float
) -> tuple[float, float]:
    """Return the interval of a positive ratio of two means; the upper end may be infinite.

    Args:
        numerator: Mean.
        denominator: Mean.
        covariance: Of both, shape (2, 2).
        quantile: Of the t-distribution.

    Returns:
        Lower and upper end.
    """
    square = quantile**2
    a = denominator**2 - square * float(covariance[1, 1])
    b = numerator * denominator - square * float(covariance[0, 1])
    c = numerator**2 - square * float(covariance[0, 0])
    root = b * b - a * c
    if a > 0 and denominator > 0:
        half = math.sqrt(max(root, 0.0))
        return max(0.0, (b - half) / a), (b + half) / a
    if root <= 0 or a == 0:
        return 0.0, math.inf
    return max(0.0, *((b + sign * math.sqrt(root)) / a for sign in (-1, 1))), math.inf


@dataclass(frozen=True)
class SizeTest:
    """Gradient statistics of batches of one size, cut from measured ones.

    Args:
        batch_size: Samples.
        batches: Number of batches.
        snr: |G|²/E|ĝ − G|², ratio of means; NaN if no signal was seen.
        norm_test: Median of the smallest θ at which the norm test passes.
        passes: Share of batches that pass it at θ = 1.
    """

    batch_size: int
    batches: int
    snr: float
    norm_test: float
    passes: float


def size_tests(grams: Any, theta: float = 1.0) -> list[SizeTest]:
    """Evaluate signal-to-noise ratio and norm test at batch sizes 4, 8, … from measured Grams.

    Args:
        grams: Grams (n, n) of independent batches.
        theta: Of the norm test.

    Returns:
        A value per batch size, up to the smallest Gram.

    Cost: O(n²) per size and Gram.
    """
    arrays = [np.asarray(gram, dtype=np.float64) for gram in grams]
    largest = min((len(gram) for gram in arrays), default=0)
    tests_by_size = []
    for size in (2**k for k in range(2, 31) if 2**k <= largest):
        cut = [
            Gradients(gram[start : start + size, start : start + size])
            for gram in arrays
            for start in range(0, len(gram) - size + 1, size)
        ]
        signal, error = sum(part.signal for part in cut), sum(part.error for part in cut)
        thetas = np.array([norm_test(part) for part in cut])
        snr = signal / error if signal > 0 and error > 0 else math.nan
        passes = float(np.mean(thetas <= theta))
        tests_by_size.append(SizeTest(size, len(cut), snr, float(np.median(thetas)), passes))
    return tests_by_size
