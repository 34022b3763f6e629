"""Instruments of one Gram: what the inner products of per-sample gradients say about the batch.

Each is a function of four sums, so it costs O(B²) once. Letters: g_i is sample i's gradient (column i, *not*
divided by the batch size), ĝ = (1/n) Σ g_i the batch gradient, n = |B|. All of them take samples as
independent draws; where normalisation couples samples, column i is sample i's path contribution instead.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from fisherscope.measures.nonzero_rules import FloatArray

Estimator = Literal["unbiased", "plug_in"]


@dataclass(frozen=True)
class Gradients:
    """Sums over one Gram of which every instrument is made.

    Args:
        gram: F̃ = JᵀJ, shape (n, n), columns not divided by n.
        population: Size N of the finite set the batch was drawn from *without* replacement; None for
            independent draws. It multiplies the batch gradient's variance by 1 − n/N.
    """

    gram: FloatArray
    population: int | None = None

    def __post_init__(self) -> None:
        shape = np.shape(self.gram)
        if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
            raise ValueError(f"reading a Gram: expected shape (B, B) with B ≥ 1, received {shape}")
        if self.population is not None and self.population < shape[0]:
            raise ValueError(
                f"reading a Gram: population={self.population} is below the batch size {shape[0]}; give the "
                "number of samples in the training set"
            )

    @property
    def n(self) -> int:
        """Samples in the batch."""
        return len(self.gram)

    @cached_property
    def square_norms(self) -> FloatArray:
        """|g_i|², shape (n,)."""
        return np.asarray(np.diagonal(self.gram), dtype=np.float64)

    @cached_property
    def trace(self) -> float:
        """Tr F̃ = Σ|g_i|²."""
        return float(self.square_norms.sum())

    @cached_property
    def projections(self) -> FloatArray:
        """g_i·ĝ, shape (n,)."""
        sums: FloatArray = np.sum(self.gram, axis=1, dtype=np.float64)
        return sums / self.n

    @cached_property
    def mean_square(self) -> float:
        """|ĝ|², the squared norm of the batch gradient."""
        return float(self.projections.sum()) / self.n

    @cached_property
    def variance(self) -> float:
        """tr Σ̂ = Σ|g_i − ĝ|²/(n − 1): unbiased trace of the per-sample covariance; NaN for one sample."""
        return (self.trace - self.n * self.mean_square) / (self.n - 1) if self.n > 1 else math.nan

    @property
    def correction(self) -> float:
        """1 − n/N, the finite-population factor of the batch gradient's variance; 1 for independent draws."""
        return 1.0 if self.population is None else 1.0 - self.n / self.population

    @property
    def error(self) -> float:
        """E|ĝ − G|² = (tr Σ̂/n)·(1 − n/N): the variance of the batch gradient."""
        return self.variance / self.n * self.correction

    @property
    def signal(self) -> float:
        """|G|², unbiased: |ĝ|² − E|ĝ − G|². It can be negative (McCandlish et al. 2018, appendix A.1)."""
        return self.mean_square - self.error


def _ratio(numerator: float, denominator: float) -> float:
    """Their ratio; NaN where the denominator is not positive."""
    return numerator / denominator if denominator > 0 else math.nan


def noise_scale(gradients: Gradients, estimator: Estimator = "unbiased") -> float:
    """Simple gradient noise scale tr Σ/|G|², in samples (McCandlish et al. 2018, eq. 2.9).

    `unbiased`: numerator and denominator each unbiased (appendix A.1 with B_small = 1 and B_big = n, which
    for one Gram is the sample variance and |ĝ|² less its own variance); NaN where the estimate of |G|² is
    not positive: the batch is too small to see the gradient. `plug_in`: |ĝ|² in place of |G|²; biased low,
    hardly ever above n.
    """
    signal = gradients.signal if estimator == "unbiased" else gradients.mean_square
    return _ratio(gradients.variance, signal)


def snr(gradients: Gradients) -> float:
    """Power signal-to-noise ratio of the batch gradient, |G|²/E|ĝ − G|² (unbiased parts); NaN below zero.

    n/noise scale for independent draws: 1 where the batch is as large as its noise scale.
    """
    signal = gradients.signal
    return _ratio(signal, gradients.error) if signal > 0 else math.nan


def norm_test(gradients: Gradients) -> float:
    """Smallest θ at which the norm test passes: sqrt(E|ĝ − G|²)/|ĝ| (Byrd et al. 2012, eq. 3.9).

    The batch it asks for at a chosen θ is n·(this/θ)² for independent draws (their eq. 3.11).
    """
    return math.sqrt(_ratio(gradients.error, gradients.mean_square))


def inner_product_test(gradients: Gradients) -> float:
    """Smallest θ at which the inner-product test passes (Bollapragada et al. 2018, eq. 2.6).

    sqrt(Var(g_i·ĝ)/n)/|ĝ|², the variance with n − 1.
    """
    if gradients.n < 2:
        return math.nan
    spread = float(np.sum((gradients.projections - gradients.mean_square) ** 2)) / (gradients.n - 1)
    return math.sqrt(_ratio(spread / gradients.n * gradients.correction, gradients.mean_square**2))


def orthogonality_test(gradients: Gradients) -> float:
    """Smallest ν at which the orthogonality test passes (Bollapragada et al. 2018, eq. 3.3).

    sqrt(Σ|g_i − (g_i·ĝ/|ĝ|²)ĝ|²/((n − 1)n))/|ĝ|.
    """
    if gradients.n < 2 or gradients.mean_square <= 0:
        return math.nan
    along = float(np.sum(gradients.projections**2)) / gradients.mean_square
    spread = max(gradients.trace - along, 0.0) / (gradients.n - 1)
    return math.sqrt(spread / gradients.n * gradients.correction / gradients.mean_square)


def big_batch_ratio(gradients: Gradients) -> float:
    """(tr Σ̂/n)/|ĝ|²: Big Batch SGD asks for a larger batch above θ², θ ≤ 1 (De et al. 2017).

    The square of the norm test, without its finite-population factor.
    """
    return _ratio(gradients.variance / gradients.n, gradients.mean_square)


def cabs_batch_size(gradients: Gradients, lr: float, loss: float) -> float:
    """Batch size that CABS asks for, α·tr Σ/L in samples (Balles et al. 2017, eq. 22).

    With their covariance estimate (divided by n) and a loss whose smallest value is near 0.
    """
    return lr * _ratio(gradients.variance * (gradients.n - 1) / gradients.n, loss)


def diversity(gradients: Gradients) -> float:
    """Gradient diversity Σ|g_i|²/|Σ g_i|² (Yin et al. 2018, definition 1); times n it bounds the batch size.

    1/n where all gradients are equal, 1 where they are orthogonal.
    """
    return _ratio(gradients.trace, gradients.n**2 * gradients.mean_square)


def mean_cosine(gradients: Gradients) -> float:
    """Mean cosine of the angle between two samples' gradients; samples without gradient are left out."""
    norms = np.sqrt(gradients.square_norms)
    seen = norms > 0
    count = int(seen.sum())
    if count < 2:
        return math.nan
    units = gradients.gram[np.ix_(seen, seen)] / np.outer(norms[seen], norms[seen])
    return float((units.sum() - np.trace(units)) / (count * (count - 1)))


def adascale_gain(gradients: Gradients, scale: float | None = None) -> float:
    """AdaScale's gain r in [1, S] of this batch over one S times smaller (Johnson et al. 2020, r_t).

    r = (σ² + μ²)/(σ²/S + μ²) with σ² = tr Σ̂·S/n, the variance of the smaller batch's gradient, and
    μ² = max(|ĝ|² − σ²/S, 0).

    Args:
        gradients: Of the whole batch.
        scale: S; by default n, a base batch of one sample.
    """
    times = gradients.n if scale is None else scale
    noise = gradients.variance * times / gradients.n
    signal = max(gradients.mean_square - noise / times, 0.0)
    return _ratio(noise + signal, noise / times + signal)


def instruments(
    gram: FloatArray,
    lr: float | None = None,
    loss: float | None = None,
    population: int | None = None,
) -> dict[str, float]:
    """Every instrument of one Gram, under the monitor's row keys; NaN where one is undefined.

    Args:
        gram: F̃, shape (n, n), columns not divided by n.
        lr: Learning rate α, for CABS.
        loss: Mean loss of the batch, for CABS.
        population: Training samples N when the batch was drawn without replacement.

    Cost: O(n²) time, no copies of the Gram but one for the cosine.
    """
    gradients = Gradients(np.asarray(gram, dtype=np.float64), population)
    return {
        "gradient/norm": math.sqrt(max(gradients.mean_square, 0.0)),
        "gradient/diversity": diversity(gradients),
        "gradient/cosine": mean_cosine(gradients),
        "noise/scale": noise_scale(gradients),
        "noise/variance": gradients.variance,
        "noise/signal": gradients.signal,
        "noise/snr": snr(gradients),
        "test/norm": norm_test(gradients),
        "test/inner_product": inner_product_test(gradients),
        "test/orthogonality": orthogonality_test(gradients),
        "test/big_batch": big_batch_ratio(gradients),
        "adascale/gain": adascale_gain(gradients),
        "cabs/batch_size": math.nan if lr is None or loss is None else cabs_batch_size(gradients, lr, loss),
    }


INSTRUMENTS = tuple(instruments(np.eye(2)))
"""Keys of `instruments`, in order."""
