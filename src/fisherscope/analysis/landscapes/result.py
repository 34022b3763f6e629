"""The result of `landscape`: settings in a plane, the surface over them, and sentences."""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from fisherscope.analysis.data.settings import FloatArray
from fisherscope.analysis.landscapes.surface import GRID, Method, Surface, unit_square

METHOD_NAMES = ("the five nearest", "the Gaussian process", "the mean")


@dataclass(frozen=True)
class Landscape:
    """Settings in the plane of two measures, with a metric over it; made by `landscape`.

    Args:
        points: A row per setting: `setting, fixed, batch_size, lr, seeds, diverged, x, x_std, y, y_std,
            metric, metric_std, distance, best, in_region`. x and y are geometric means over seeds, their
            deviations those of the natural logarithm; `distance` is that to the best setting in the scaled
            plane.
        x: Name of the measure across.
        y: Name of the measure upwards.
        metric: Name of the metric.
        smaller_is_better: Its direction.
        epoch: Epoch of the coordinates; None is each run's last.
        metric_epoch: Epoch of the metric; None is each run's last.
        method: The surface that predicted left-out settings better: `nearest` or `process`.
        comparison: Leave-one-out of both (`method, rmse, mae, spearman, n`); of the metric's logarithm if
            it is positive, so that 0.1 is ten per cent.
        level: Metric at the border of the optimum region.
        task: Name of the task; empty if the runs do not say.
        notes: What is missing, and what could not be shown.
    """

    points: pl.DataFrame
    x: str
    y: str
    metric: str
    smaller_is_better: bool
    epoch: int | None
    metric_epoch: int | None
    method: Method
    comparison: pl.DataFrame
    level: float
    task: str
    notes: tuple[str, ...]

    @property
    def best(self) -> pl.DataFrame:
        """The five best settings, best first."""
        return self.points.filter(pl.col("best")).sort("metric", descending=not self.smaller_is_better)

    @property
    def region(self) -> pl.DataFrame:
        """Settings within the margin of the best one."""
        return self.points.filter(pl.col("in_region"))

    @property
    def surface_settings(self) -> pl.DataFrame:
        """The settings that make the surface: fixed, finished, not diverged, positive measures."""
        return self.points.filter(pl.col("on_surface"))

    def scaled(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Scale the logarithms of `surface_settings` to the unit square.

        Returns:
            (log x, log y) scaled, shape (n, 2); the lowest logs and the ranges, shape (2,) each; float64.
        """
        return unit_square(np.log(self.surface_settings.select("x", "y").to_numpy()).reshape(-1, 2))

    def surface(self, method: Method | None = None, *, column: str = "metric") -> Surface:
        """Make the surface of a column of `points` over the unit square of the logs.

        Args:
            method: `nearest`, `process` or `paper`; by default the better one.
            column: Column of `points`.

        Returns:
            The surface; it can be evaluated anywhere.
        """
        return Surface(self.scaled()[0], self.surface_settings[column].to_numpy(), method or self.method)

    def contour(
        self, method: Method | None = None, size: int = GRID, *, column: str = "metric"
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Evaluate the surface for a contour plot on log axes.

        Args:
            method: As for `surface`.
            size: Points along each side.
            column: Column of `points`.

        Returns:
            x (size,), y (size,), value and deviation (size, size), float64.
        """
        _, low, reach = self.scaled()
        side = np.linspace(0.0, 1.0, size)
        value, deviation = self.surface(method, column=column).map(size)
        return np.exp(low[0] + reach[0] * side), np.exp(low[1] + reach[1] * side), value, deviation

    def __str__(self) -> str:
        when = f"epoch {self.epoch}" if self.epoch is not None else "the last epoch"
        lines = [
            f"{len(self.points)} settings{f' of {self.task}' if self.task else ''} in the plane of {self.x} "
            f"and {self.y} at {when}; {self.metric}, {'smaller' if self.smaller_is_better else 'larger'} is "
            "better."
        ]
        lines += [_best_text(self.best), self._region_text(), self._methods_text()]
        return "\n".join(line for line in [*lines, *self.notes] if line)

    def _region_text(self) -> str:
        if not len(self.region):
            return ""
        (x_low, y_low), (x_high, y_high) = (
            self.region.select("x", "y").min().row(0),
            self.region.select("x", "y").max().row(0),
        )
        return (
            f"Region: {len(self.region)} of {len(self.surface_settings)} settings within {self.level:.4g}; "
            f"{self.x} {x_low:.4g} to {x_high:.4g}, {self.y} {y_low:.4g} to {y_high:.4g}."
        )

    def _methods_text(self) -> str:
        errors = dict(self.comparison.select("method", "rmse").iter_rows())
        if not errors or not math.isfinite(errors["nearest"]):
            return ""
        worse = (
            ""
            if min(errors["nearest"], errors["process"]) < errors["mean"]
            else " Neither beats the mean of the others."
        )
        chosen_name = "the five nearest" if self.method == "nearest" else "the Gaussian process"
        texts = [f"{errors[m]:.3g} by {t}" for m, t in zip(errors, METHOD_NAMES, strict=True)]
        return (
            f"Leave-one-out error (RMS) of log {self.metric} {', '.join(texts)}; the map "
            f"shows {chosen_name}.{worse}"
        )


def _best_text(best: pl.DataFrame) -> str:
    if not len(best):
        return ""
    texts = [
        f"{row['setting']} {row['metric']:.4g}"
        + (f" ± {row['metric_std']:.2g}" if row["metric_std"] is not None else "")
        for row in best.iter_rows(named=True)
    ]
    return f"Best: {'; '.join(texts)}."
