"""Two-sample tests, equivalence, corrections and rank statistics: plain numpy and scipy, nothing of runs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

FloatArray = NDArray[np.float64]
Statistic = Callable[[FloatArray, FloatArray], float]

Z80 = 1.2815515655446004
"""Normal quantile of an 80 % interval."""


@dataclass(frozen=True)
class Sample:
    """What a two-sample test needs to know of one sample.

    Args:
        mean: Mean.
        std: Standard deviation, with n − 1.
        n: Number of values.
    """

    mean: float
    std: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float] | FloatArray) -> "Sample":
        """Of values; the deviation of a single one is NaN."""
        array = np.asarray(values, dtype=np.float64)
        array = array[np.isfinite(array)]
        mean = float(array.mean()) if len(array) else math.nan
        return cls(mean, float(array.std(ddof=1)) if len(array) > 1 else math.nan, len(array))

    def __str__(self) -> str:
        if math.isnan(self.std):
            return f"{self.mean:.4g} (n = {self.n})"
        return f"{self.mean:.4g} ± {self.std:.2g} (n = {self.n})"


@dataclass(frozen=True)
class Difference:
    """Mean of a minus mean of b, with what a t-test says of it.

    Args:
        estimate: The difference.
        error: Its standard error.
        freedom: Degrees of freedom.
        p: Two-sided p-value of no difference.
        low: Lower bound of the 95 % interval.
        high: Upper bound of it.
        hedges_g: Difference in pooled standard deviations, corrected for small samples.
    """

    estimate: float
    error: float
    freedom: float
    p: float
    low: float
    high: float
    hedges_g: float

    def p_below(self, margin: float) -> float:
        """One-sided p-value of "a − b ≥ margin": small where a is worse than b by less than the margin."""
        return _tail((margin - self.estimate), self.error, self.freedom)

    def p_above(self, margin: float) -> float:
        """One-sided p-value of "a − b ≤ margin"."""
        return _tail((self.estimate - margin), self.error, self.freedom)

    def p_equivalent(self, margin: float) -> float:
        """Two one-sided tests (Schuirmann 1987): p-value of "|a − b| ≥ margin"."""
        return max(self.p_below(margin), self.p_above(-margin))

    def upper(self, confidence: float = 0.95) -> float:
        """One-sided upper bound of a − b."""
        return self.estimate + float(stats.t.ppf(confidence, self.freedom)) * self.error


def welch(a: Sample, b: Sample) -> Difference:
    """Welch's t-test: the two variances may differ (Welch 1947).

    Raises:
        ValueError: A sample has fewer than two values.
    """
    _enough(a, b)
    parts = a.std**2 / a.n, b.std**2 / b.n
    total = sum(parts)
    spread = parts[0] ** 2 / (a.n - 1) + parts[1] ** 2 / (b.n - 1)
    freedom = total**2 / spread if spread > 0 else a.n + b.n - 2.0
    return _difference(a, b, math.sqrt(total), freedom)


def student(a: Sample, b: Sample) -> Difference:
    """Student's t-test: one variance for both.

    Raises:
        ValueError: A sample has fewer than two values.
    """
    _enough(a, b)
    return _difference(a, b, _pooled(a, b) * math.sqrt(1 / a.n + 1 / b.n), a.n + b.n - 2.0)


def paired(differences: Sequence[float] | FloatArray) -> Difference:
    """Student's test of paired differences against zero.

    Raises:
        ValueError: There are fewer than two.
    """
    sample = Sample.of(differences)
    zero = Sample(0.0, 0.0, sample.n)
    _enough(sample, zero)
    return _difference(sample, zero, sample.std / math.sqrt(sample.n), sample.n - 1.0, sample.std)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for being several (Holm 1979); NaN ones stay NaN and do not count."""
    p = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(len(p), math.nan)
    known = np.flatnonzero(np.isfinite(p))
    reached = 0.0
    for rank, index in enumerate(known[np.argsort(p[known], kind="stable")]):
        reached = max(reached, min(1.0, float(p[index]) * (len(known) - rank)))
        corrected[index] = reached
    return [float(value) for value in corrected]


def spearman(a: FloatArray, b: FloatArray) -> float:
    """Spearman's ρ; NaN where one of them is constant or fewer than three."""
    return _correlation(stats.rankdata(a), stats.rankdata(b)) if len(a) > 2 else math.nan


def kendall(a: FloatArray, b: FloatArray) -> float:
    """Kendall's τ-b; NaN where one of them is constant or fewer than two."""
    if len(a) < 2:
        return math.nan
    left, right = np.sign(np.subtract.outer(a, a)), np.sign(np.subtract.outer(b, b))
    ties = float(np.abs(left).sum()) * float(np.abs(right).sum())
    return float((left * right).sum()) / math.sqrt(ties) if ties > 0 else math.nan


def residuals(values: FloatArray, on: FloatArray) -> FloatArray:
    """`values` (n,) after a linear fit, with intercept, on the columns of `on` (n, d) is taken away."""
    design = np.column_stack([np.ones(len(values)), on])
    fitted: FloatArray = design @ np.linalg.lstsq(design, values, rcond=None)[0]
    left = values - fitted
    rounding = 1e-10 * float(np.abs(values).max(initial=0.0))
    return np.where(np.abs(left) <= rounding, 0.0, left)


def intraclass(values: FloatArray) -> float:
    """Intraclass correlation ICC(1, 1) of values (groups, members); NaN below two of either."""
    groups, members = values.shape
    if groups < 2 or members < 2:
        return math.nan
    between = members * float(values.mean(axis=1).var(ddof=1))
    within = float(values.var(axis=1, ddof=1).mean())
    total = between + (members - 1) * within
    return (between - within) / total if total > 0 else math.nan


def auc(scores: FloatArray, positive: NDArray[np.bool_]) -> float:
    """Chance that a positive scores above a negative (ties half); NaN without both."""
    ups, downs = scores[positive], scores[~positive]
    if not len(ups) or not len(downs):
        return math.nan
    return float(0.5 + 0.5 * np.sign(np.subtract.outer(ups, downs)).mean())


def permutation_p(observed: float, permuted: Sequence[float] | FloatArray) -> float:
    """One-sided p-value of a large statistic, the observed one counted among the permuted (never 0)."""
    drawn = np.asarray(permuted, dtype=np.float64)
    drawn = drawn[np.isfinite(drawn)]
    if math.isnan(observed) or not len(drawn):
        return math.nan
    tolerance = 1e-12 * max(1.0, abs(observed))
    return float((1 + np.sum(drawn >= observed - tolerance)) / (1 + len(drawn)))


def interval(draws: Sequence[float] | FloatArray, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap draws; NaN where half of them are undefined."""
    array = np.asarray(draws, dtype=np.float64)
    known = array[np.isfinite(array)]
    if len(known) < max(1, len(array) / 2):
        return math.nan, math.nan
    tail = 50 * (1 - confidence)
    low, high = np.percentile(known, [tail, 100 - tail])
    return float(low), float(high)


def share_deviation(share: float, samples: int) -> float:
    """Deviation of a share of so many samples, shrunk so that none is certain (Agresti & Coull 1998)."""
    whole = samples + Z80**2
    middle = (share * samples + Z80**2 / 2) / whole
    return math.sqrt(middle * (1 - middle) / whole)


def share_interval(share: float, samples: int) -> tuple[float, float]:
    """80 % interval of a share of so many samples (Wilson 1927)."""
    whole = samples + Z80**2
    middle = (share * samples + Z80**2 / 2) / whole
    half = Z80 * math.sqrt(share * (1 - share) * samples + Z80**2 / 4) / whole
    return max(middle - half, 0.0), min(middle + half, 1.0)


def sign_p(wins: int, trials: int) -> float:
    """One-sided sign test: chance of so many wins by coin tosses."""
    return float(stats.binom.sf(wins - 1, trials, 0.5)) if trials else math.nan


def _difference(
    a: Sample, b: Sample, error: float, freedom: float, spread: float | None = None
) -> Difference:
    estimate = a.mean - b.mean
    p = 2 * _tail(abs(estimate), error, freedom)
    reach = float(stats.t.ppf(0.975, freedom)) * error
    spread = _pooled(a, b) if spread is None else spread
    effect = estimate / spread * (1 - 3 / (4 * freedom - 1)) if spread > 0 else math.nan
    return Difference(estimate, error, freedom, p, estimate - reach, estimate + reach, effect)


def _tail(distance: float, error: float, freedom: float) -> float:
    """P(T ≥ distance/error); with no spread at all a distance decides by its sign."""
    if error > 0:
        return float(stats.t.sf(distance / error, freedom))
    return 0.0 if distance > 0 else 0.5 if distance == 0 else 1.0


def _pooled(a: Sample, b: Sample) -> float:
    return math.sqrt(((a.n - 1) * a.std**2 + (b.n - 1) * b.std**2) / (a.n + b.n - 2))


def _enough(*samples: Sample) -> None:
    for sample in samples:
        if sample.n < 2:
            raise ValueError(
                f"comparing two means: a sample has n = {sample.n}; expected at least 2 values (seeds)"
            )


def _correlation(a: FloatArray, b: FloatArray) -> float:
    left, right = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(left @ left) * float(right @ right))
    return float(left @ right) / scale if scale > 0 else math.nan
