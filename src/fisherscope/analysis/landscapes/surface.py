"""Surfaces over a plane from scattered settings: five nearest, the paper's formula, Gaussian process."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from fisherscope.analysis.data.settings import FloatArray
from fisherscope.analysis.stats.gaussian_process import GaussianProcess
from fisherscope.analysis.stats.hypothesis_tests import spearman

Method = Literal["nearest", "process", "paper"]
NEAREST = 5
FOLDS = 48
"""Most fits of a leave-one-out prediction: each costs the cube of the number of points."""
GRID = 51
"""Points along each side of the paper's contour maps."""


@dataclass(frozen=True)
class Surface:
    """Values over the unit square.

    Args:
        points: Known points, shape (n, 2), each axis scaled to [0, 1] over them.
        values: Shape (n,).
        method: `nearest` (five, inverse distance, weights that sum to 1), `process` (of the logarithm
            if all values are positive) or `paper` (the paper's formula: weights do not sum to 1,
            undefined on a point).
    """

    points: FloatArray
    values: FloatArray
    method: Method

    def at(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Evaluate the surface.

        Args:
            points: Shape (m, 2), in the unit square.

        Returns:
            Value and standard deviation, (m,) each; NaN deviations if the method has none.
        """
        if self.method == "process" and len(self.values) > 1:
            if not (self.values > 0).all():
                return GaussianProcess.fit(self.points, self.values).predict(points)
            mean, deviation = GaussianProcess.fit(self.points, np.log(self.values)).predict(points)
            return np.exp(mean), np.exp(mean) * deviation
        return nearest(self.points, self.values, points, paper=self.method == "paper"), np.full(
            len(points), math.nan
        )

    def map(self, size: int = GRID) -> tuple[FloatArray, FloatArray]:
        """Evaluate the surface on a regular grid.

        Args:
            size: Points along each side.

        Returns:
            Value and deviation, shape (size, size): the first index runs along the second axis.
        """
        side = np.linspace(0.0, 1.0, size)
        first, second = np.meshgrid(side, side)
        value, deviation = self.at(np.column_stack([first.ravel(), second.ravel()]))
        return value.reshape(size, size), deviation.reshape(size, size)


def unit_square(points: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Scale points to [0, 1] along each axis.

    Args:
        points: Shape (n, d).

    Returns:
        Scaled points (n, d), lowest values (d,), and ranges (d,); a constant axis has range 1.
    """
    low, reach = points.min(axis=0), np.ptp(points, axis=0)
    reach = np.where(reach > 0, reach, 1.0)
    return (points - low) / reach, low, reach


def nearest(
    points: FloatArray, values: FloatArray, at: FloatArray, *, count: int = NEAREST, paper: bool = False
) -> FloatArray:
    """Average the nearest values with inverse distances as weights.

    Args:
        points: Known points, shape (n, d).
        values: Shape (n,).
        at: Where to evaluate, shape (m, d).
        count: Number of neighbours.
        paper: Use the weights (1/d + 1)/(1 + Σ 1/d), which do not sum to 1; NaN on a known point.

    Returns:
        Shape (m,).
    """
    distance = np.sqrt(np.sum((at[:, None] - points[None]) ** 2, axis=-1))
    order = np.argsort(distance, axis=1, kind="stable")[:, :count]
    near, near_values = np.take_along_axis(distance, order, axis=1), values[order]
    with np.errstate(divide="ignore", invalid="ignore"):
        if paper:
            weights = (1 / near + 1) / (1 + np.sum(1 / near, axis=1, keepdims=True))
            return np.where(np.all(near > 0, axis=1), np.sum(weights * near_values, axis=1), math.nan)
        on = near == 0
        weights = np.where(on.any(axis=1, keepdims=True), on, 1 / near)
        return np.asarray(np.sum(weights * near_values, axis=1) / np.sum(weights, axis=1))


def leave_one_out(points: FloatArray, values: FloatArray, method: Method) -> FloatArray:
    """Predict each value from the others; NaN if fewer than three points are left.

    Beyond `FOLDS` points, those whose numbers are equal modulo `FOLDS` are left out together.

    Args:
        points: Shape (n, 2).
        values: Shape (n,).
        method: Of the surface.

    Returns:
        Predictions, shape (n,).

    Cost: at most `FOLDS` fits.
    """
    out = np.full(len(values), math.nan)
    if len(values) < 4:
        return out
    fold = np.arange(len(values)) % FOLDS
    for k in range(min(FOLDS, len(values))):
        rest = fold != k
        unit, low, reach = unit_square(points[rest])
        out[~rest] = Surface(unit, values[rest], method).at((points[~rest] - low) / reach)[0]
    return out


def compare_methods(points: FloatArray, values: FloatArray) -> pl.DataFrame:
    """Compare the surfaces `nearest` and `process` with the mean of the other values, by leave-one-out.

    Errors are of the logarithm if all values are positive, so that one failed run's large value does not
    decide.

    Args:
        points: Shape (n, 2).
        values: Shape (n,).

    Returns:
        `method, rmse, mae, spearman, n`.
    """
    rows = []
    n, scale = len(values), np.log if (values > 0).all() else np.asarray
    scaled = scale(values)
    mean = (scaled.sum() - scaled) / (n - 1) if n > 1 else np.full(n, math.nan)
    for name, prediction in (
        ("nearest", scale(leave_one_out(points, values, "nearest"))),
        ("process", scale(leave_one_out(points, values, "process"))),
        ("mean", mean),
    ):
        error = prediction - scaled
        rows.append(
            {
                "method": name,
                "rmse": float(np.sqrt(np.mean(error**2))),
                "mae": float(np.mean(np.abs(error))),
                "spearman": spearman(prediction, scaled) if name != "mean" else math.nan,
                "n": n,
            }
        )
    return pl.DataFrame(rows)
