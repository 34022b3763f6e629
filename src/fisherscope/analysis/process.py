"""A Gaussian process; its hyperparameters are averaged over a grid, so that few points do not fool it."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky

from fisherscope.analysis.settings import FloatArray

LENGTHS = (0.35, 0.7, 1.4, 2.8)
"""Length scales, in units of sqrt(d) standard deviations of the features."""
NOISES = (1e-3, 1e-2, 0.1, 0.5)
"""Noise variances, in units of the variance of the values."""
LINEAR = (0.0, 0.3, 1.0)
"""Prior variances of the linear part's slopes, in the same units."""
PRIOR_VALUES = 2.0
"""The prior of the scale counts as so many values, of the values' own variance."""


@dataclass(frozen=True)
class Process:
    """Values over features: a constant, a linear part, a smooth part and noise; made by `Process.fit`.

    For each point of the grid of (length scale, noise, linear part) the scale is integrated out; the points
    are weighted by their evidence (Rasmussen & Williams 2006, chapters 2 and 5).
    """

    features: FloatArray
    values: FloatArray
    centre: FloatArray
    spread: FloatArray
    level: float
    scale: float
    shares: FloatArray

    @classmethod
    def fit(cls, features: FloatArray, values: FloatArray, over: FloatArray | None = None) -> "Process":
        """Learn from features (n, d) and values (n,), all finite.

        Args:
            features: Where the values are known.
            values: The values.
            over: Features (m, d) whose deviations are the units of length; by default `features`.

        Raises:
            ValueError: There are fewer than two points.

        Cost: 48 Cholesky decompositions of n × n.
        """
        if len(values) < 2:
            raise ValueError(
                f"fitting a Gaussian process: received {len(values)} points, expected at least 2"
            )
        units = features if over is None else over
        centre, spread = units.mean(axis=0), units.std(axis=0)
        spread = np.where(spread > 1e-12, spread, 1.0)
        scale = float(values.std()) or 1.0
        bare = cls(
            (features - centre) / spread, (values - values.mean()) / scale, centre, spread,
            float(values.mean()), scale, np.ones(0),
        )  # fmt: skip
        evidence = np.array([bare._solved(*point)[2] for point in _grid()])
        shares = np.exp(evidence - evidence.max())
        return cls(bare.features, bare.values, centre, spread, bare.level, scale, shares / shares.sum())

    def predict(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the noiseless value at features (m, d)."""
        at = (features - self.centre) / self.spread
        means, squares = np.zeros(len(at)), np.zeros(len(at))
        for share, point in zip(self.shares, _grid(), strict=True):
            if share < 1e-4:
                continue
            factor, weights, _, size = self._solved(*point)
            cross = _kernel(at, self.features, point[0], point[2])
            mean = cross @ weights
            own = _own(at, point[2]) - np.einsum("mn,nm->m", cross, cho_solve((factor, True), cross.T))
            means += share * mean
            squares += share * (size * np.maximum(own, 0.0) + mean**2)
        deviation = np.sqrt(np.maximum(squares - means**2, 0.0))
        return self.level + self.scale * means, self.scale * deviation

    def noise(self) -> float:
        """Standard deviation of the noise, averaged over the grid."""
        total = sum(
            share * self._solved(*point)[3] * point[1]
            for share, point in zip(self.shares, _grid(), strict=True)
        )
        return self.scale * math.sqrt(total)

    def _solved(
        self, length: float, noise: float, linear: float
    ) -> tuple[FloatArray, FloatArray, float, float]:
        """Cholesky factor, weights, log evidence and scale of one point of the grid."""
        n = len(self.values)
        matrix = _kernel(self.features, self.features, length, linear) + noise * np.eye(n)
        factor: FloatArray = cholesky(matrix, lower=True)
        weights: FloatArray = cho_solve((factor, True), self.values)
        size = (PRIOR_VALUES + float(self.values @ weights)) / (PRIOR_VALUES + n)
        evidence = -float(np.log(np.diagonal(factor)).sum()) - 0.5 * (n + PRIOR_VALUES) * math.log(size)
        return factor, weights, evidence, size


def _grid() -> list[tuple[float, float, float]]:
    return list(itertools.product(LENGTHS, NOISES, LINEAR))


def _kernel(a: FloatArray, b: FloatArray, length: float, linear: float) -> FloatArray:
    square = np.sum((a[:, None] - b[None]) ** 2, axis=-1)
    smooth: FloatArray = np.exp(-square / (2 * length**2 * max(a.shape[1], 1)))
    return 1.0 + linear * (a @ b.T) + smooth


def _own(a: FloatArray, linear: float) -> FloatArray:
    own: FloatArray = 2.0 + linear * np.sum(a**2, axis=1)
    return own
