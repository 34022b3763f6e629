"""Surfaces over a plane from scattered settings: five nearest, the paper's formula, a Gaussian process."""

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
"""Fits at most where values are predicted from the others: each costs the cube of their number."""
GRID = 51
"""Points along each side of the paper's contour maps."""


@dataclass(frozen=True)
class Surface:
    """Values over the unit square.

    Args:
        points: Known points, shape (n, 2), each axis scaled to [0, 1] over them.
        values: Shape (n,).
        method: `nearest` (five, inverse distance, weights that sum to 1), `process` (of the logarithm
            where all values are positive) or `paper` (the reference formula: weights do not sum to 1,
            undefined on a point).
    """

    points: FloatArray
    values: FloatArray
    method: Method

    def at(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Value and standard deviation at points (m, 2); NaN deviations where the method has none."""
        if self.method == "process" and len(self.values) > 1:
            if not (self.values > 0).all():
                return GaussianProcess.fit(self.points, self.values).predict(points)
            mean, deviation = GaussianProcess.fit(self.points, np.log(self.values)).predict(points)
            return np.exp(mean), np.exp(mean) * deviation
        return nearest(self.points, self.values, points, paper=self.method == "paper"), np.full(
            len(points), math.nan
        )

    def map(self, size: int = GRID) -> tuple[FloatArray, FloatArray]:
        """Value and deviation on a regular grid, shape (size, size): first index along the second axis."""
        side = np.linspace(0.0, 1.0, size)
        first, second = np.meshgrid(side, side)
        value, deviation = self.at(np.column_stack([first.ravel(), second.ravel()]))
        return value.reshape(size, size), deviation.reshape(size, size)


def unit_square(points: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Points scaled to [0, 1] along each axis, the lowest values, and the ranges (1 for a constant axis)."""
    low, reach = points.min(axis=0), np.ptp(points, axis=0)
    reach = np.where(reach > 0, reach, 1.0)
    return (points - low) / reach, low, reach


def nearest(
    points: FloatArray, values: FloatArray, at: FloatArray, *, count: int = NEAREST, paper: bool = False
) -> FloatArray:
    """Inverse-distance mean of the nearest values; `paper`: weights (1/d + 1)/(1 + Σ 1/d), NaN on a point."""
    distance = np.sqrt(np.sum((at[:, None] - points[None]) ** 2, axis=-1))
    order = np.argsort(distance, axis=1, kind="stable")[:, :count]
    near, found = np.take_along_axis(distance, order, axis=1), values[order]
    with np.errstate(divide="ignore", invalid="ignore"):
        if paper:
            weights = (1 / near + 1) / (1 + np.sum(1 / near, axis=1, keepdims=True))
            return np.where(np.all(near > 0, axis=1), np.sum(weights * found, axis=1), math.nan)
        on = near == 0
        weights = np.where(on.any(axis=1, keepdims=True), on, 1 / near)
        return np.asarray(np.sum(weights * found, axis=1) / np.sum(weights, axis=1))


def left_out(points: FloatArray, values: FloatArray, method: Method) -> FloatArray:
    """Each value predicted from the others; NaN where fewer than three points are left.

    Beyond `FOLDS` points those whose places differ by a multiple of it are left out together.

    Cost: at most `FOLDS` fits.
    """
    out = np.full(len(values), math.nan)
    if len(values) < 4:
        return out
    fold = np.arange(len(values)) % FOLDS
    for k in range(min(FOLDS, len(values))):
        rest = fold != k
        scaled, low, reach = unit_square(points[rest])
        out[~rest] = Surface(scaled, values[rest], method).at((points[~rest] - low) / reach)[0]
    return out


def compared(points: FloatArray, values: FloatArray) -> pl.DataFrame:
    """Leave-one-out of both surfaces, and of the mean of the others: errors and ρ.

    Errors are of the logarithm where all values are positive: one that learns nothing must not decide.
    """
    rows = []
    n, scale = len(values), np.log if (values > 0).all() else np.asarray
    known = scale(values)
    mean = (known.sum() - known) / (n - 1) if n > 1 else np.full(n, math.nan)
    for name, predicted in (
        ("nearest", scale(left_out(points, values, "nearest"))),
        ("process", scale(left_out(points, values, "process"))),
        ("mean", mean),
    ):
        error = predicted - known
        rows.append(
            {
                "method": name,
                "rmse": float(np.sqrt(np.mean(error**2))),
                "mae": float(np.mean(np.abs(error))),
                "spearman": spearman(predicted, known) if name != "mean" else math.nan,
                "n": n,
            }
        )
    return pl.DataFrame(rows)
