"""Sums over one Gram from which every statistic of the batch's gradients is computed.

Letters: g_i is sample i's gradient (column i, *not* divided by the batch size), ĝ = (1/n) Σ g_i the batch
gradient, G its expectation, n = |B|. Samples count as independent draws; where normalisation couples samples,
column i is sample i's path contribution instead.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fisherscope.measures.nonzero_rules import FloatArray


class _Variance:
    """What n, Σ|g_i|² and |ĝ|² give."""

    n: int
    trace: float
    mean_square: float
    population: int | None

    @property
    def variance(self) -> float:
        """tr Σ̂ = Σ|g_i − ĝ|²/(n − 1): trace of the samples' covariance, unbiased; NaN for n = 1."""
        return (self.trace - self.n * self.mean_square) / (self.n - 1) if self.n > 1 else math.nan

    @property
    def correction(self) -> float:
        """1 − n/N, the finite-population factor of the variance; 1 for independent draws."""
        return 1.0 if self.population is None else 1.0 - self.n / self.population

    @property
    def error(self) -> float:
        """E|ĝ − G|² = (tr Σ̂/n)·(1 − n/N): the variance of the batch gradient."""
        return self.variance / self.n * self.correction

    @property
    def signal(self) -> float:
        """|G|², unbiased: |ĝ|² − E|ĝ − G|².

        It can be negative (McCandlish et al. 2018, appendix A.1).
        """
        return self.mean_square - self.error


@dataclass(frozen=True)
class Gradients(_Variance):
    """Compute the sums over one Gram of which every statistic is a function.

    Source: McCandlish et al. 2018, appendix A.1; docs/paper.md, Measures, for F̃.

    Args:
        gram: F̃ = JᵀJ, shape (n, n), float64, columns not divided by n.
        population: Size N of the finite set from which the batch was drawn *without* replacement; None for
            independent draws. It multiplies the batch gradient's variance by 1 − n/N.

    Raises:
        ValueError: The Gram is not square, is empty, or is larger than the population.

    Cost: O(n²) time once; no copies of the Gram.

    Example:
        ```python
        import numpy as np

        columns = np.array([[1.0, 3.0], [0.0, 0.0]])  # two samples, two parameters
        gradients = fs.measures.Gradients(columns.T @ columns)
        assert (gradients.mean_square, gradients.variance) == (4.0, 2.0)
        ```
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
    def n(self) -> int:  # type: ignore[override]
        """Samples in the batch."""
        return len(self.gram)

    @cached_property
    def square_norms(self) -> FloatArray:
        """|g_i|², shape (n,)."""
        return np.asarray(np.diagonal(self.gram), dtype=np.float64)

    @cached_property
    def trace(self) -> float:  # type: ignore[override]
        """Tr F̃ = Σ|g_i|²."""
        return float(self.square_norms.sum())

    @cached_property
    def projections(self) -> FloatArray:
        """g_i·ĝ, shape (n,)."""
        sums: FloatArray = np.sum(self.gram, axis=1, dtype=np.float64)
        return sums / self.n

    @cached_property
    def mean_square(self) -> float:  # type: ignore[override]
        """|ĝ|², the squared norm of the batch gradient."""
        return float(self.projections.sum()) / self.n


@dataclass(frozen=True)
class GradientSums(_Variance):
    """Hold the sums that need no inner product of two samples: n, Σ|g_i|² and |ĝ|².

    They are known of a batch that is spread over processes. They have the variance, error and signal of
    `Gradients`. Source: McCandlish et al. 2018, appendix A.1.

    Args:
        n: Samples in the batch.
        trace: Tr F̃ = Σ|g_i|².
        mean_square: |ĝ|², the squared norm of the batch gradient.
        population: As in `Gradients`.

    Example:
        ```python
        sums = fs.measures.GradientSums(n=2, trace=10.0, mean_square=4.0)
        assert sums.variance == 2.0
        assert fs.measures.noise_scale(sums) == 2 / 3
        ```
    """

    n: int
    trace: float
    mean_square: float
    population: int | None = None


def ratio_or_nan(numerator: float, denominator: float) -> float:
    """Return the ratio; NaN if the denominator is not positive."""
    return numerator / denominator if denominator > 0 else math.nan
