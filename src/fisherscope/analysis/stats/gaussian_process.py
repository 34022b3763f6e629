"""Gaussian-process regression with its hyperparameters marginalised over a grid.

Not scikit-learn's GaussianProcessRegressor, which maximises the evidence: with the few points of a
small sweep the maximum is often a surface without noise, and the intervals are far too narrow.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np

from fisherscope.analysis.data.settings import FloatArray

LENGTHS = (0.35, 0.7, 1.4, 2.8)
"""Length scales, in units of sqrt(d) standard deviations of the features."""
NOISES = (1e-3, 1e-2, 0.1, 0.5)
"""Noise variances, in units of the variance of the values."""
LINEAR = (0.0, 0.3, 1.0)
"""Prior variances of the linear part's slopes, in the same units."""
PRIOR_VALUES = 2.0
"""The prior of the scale counts as this many values, of the values' own variance."""


@dataclass(frozen=True)
class GaussianProcess:
    """Values over features: a constant, a linear part, a smooth part and noise; made by `fit`.

    At each point of the grid of (length scale, noise, linear part) the scale is integrated out; the points
    are weighted by their evidence (Rasmussen & Williams 2006, chapters 2 and 5).
    """

    features: FloatArray
    values: FloatArray
    centre: FloatArray
    spread: FloatArray
    level: float
    scale: float
    shares: FloatArray
    weights: FloatArray
    inverse: FloatArray
    sizes: FloatArray

    @classmethod
    def fit(
        cls, features: FloatArray, values: FloatArray, over: FloatArray | None = None
    ) -> "GaussianProcess":
        """Fit features (n, d) and values (n,), all finite.

        Args:
            features: Features of the known values.
            values: The values.
            over: Features (m, d) whose deviations are the units of length; `features` by default.

        Returns:
            The fitted process.

        Raises:
            ValueError: There are fewer than two points.

        Cost: 48 Cholesky decompositions of n × n, in one call.
        """
        if len(values) < 2:
            raise ValueError(
                f"fitting a Gaussian process: received {len(values)} points, expected at least 2"
            )
        units = features if over is None else over
        centre, spread = units.mean(axis=0), units.std(axis=0)
        spread = np.where(spread > 1e-12, spread, 1.0)
        level, scale = float(values.mean()), float(values.std()) or 1.0
        at, scaled, n = (features - centre) / spread, (values - level) / scale, len(values)
        factor = np.linalg.cholesky(_kernels(at, at) + NOISE[:, None, None] * np.eye(n))
        half = np.linalg.inv(factor)  # (48, n, n)
        inverse = np.swapaxes(half, 1, 2) @ half
        weights = inverse @ scaled
        sizes = (PRIOR_VALUES + weights @ scaled) / (PRIOR_VALUES + n)
        logs = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
        evidence = -logs - 0.5 * (n + PRIOR_VALUES) * np.log(sizes)
        shares = np.exp(evidence - evidence.max())
        return cls(at, scaled, centre, spread, level, scale, shares / shares.sum(), weights, inverse, sizes)

    def predict(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return mean and deviation of the noiseless value, (m,) each, at features (m, d)."""
        at = (features - self.centre) / self.spread
        weighty = self.shares > NEGLIGIBLE
        shares = self.shares[weighty, None]
        cross = _kernels(at, self.features)[weighty]  # (k, m, n)
        means = np.einsum("kmn,kn->km", cross, self.weights[weighty])
        explained = np.einsum("kmn,kmn->km", cross @ self.inverse[weighty], cross)
        prior = np.maximum(2.0 + SLOPES[weighty, None] * np.sum(at**2, axis=1) - explained, 0.0)
        mean = np.sum(shares * means, axis=0)
        square = np.sum(shares * (self.sizes[weighty, None] * prior + means**2), axis=0)
        deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
        return self.level + self.scale * mean, self.scale * deviation

    @property
    def noise(self) -> float:
        """Standard deviation of the noise, averaged over the grid."""
        return self.scale * math.sqrt(float(np.sum(self.shares * self.sizes * NOISE)))


_GRID = np.array(list(itertools.product(LENGTHS, NOISES, LINEAR)))
NOISE, SLOPES = _GRID[:, 1], _GRID[:, 2]
NEGLIGIBLE = 1e-4
"""Share of the evidence below which a point of the grid is left out of a prediction."""


def _kernels(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the covariance of a (m, d) with b (n, d) at each point of the grid, (48, m, n)."""
    square = np.sum((a[:, None] - b[None]) ** 2, axis=-1)
    lengths = np.array(LENGTHS)[:, None, None]
    smooth = np.exp(-square / (2 * lengths**2 * max(a.shape[1], 1)))
    repeats = len(NOISES) * len(LINEAR)
    kernels: FloatArray = 1.0 + SLOPES[:, None, None] * (a @ b.T) + np.repeat(smooth, repeats, axis=0)
    return kernels
