"""The landscape: where every setting lies in the plane of two measures, and how good it is there."""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from fisherscope.analysis.data.run_measures import COND, ENERGY, at_epoch
from fisherscope.analysis.data.settings import FloatArray, RunsLike, Settings, settings_of
from fisherscope.analysis.errors import AnalysisError
from fisherscope.analysis.landscapes.surface import GRID, Method, Surface, compared, unit_square

BEST = 5
METHODS = ("the five nearest", "the Gaussian process", "the mean")
MARGIN_SHARE, MARGIN_POINTS = 0.1, 0.002
"""The region: within 10 % of the best value, for errors at least 0.2 points (docs/evidence.md, rule 7)."""


@dataclass(frozen=True)
class Landscape:
    """Settings in the plane of two measures, with a metric over it; made by `landscape`.

    Args:
        points: A row a setting: `setting, fixed, batch_size, lr, seeds, diverged, x, x_std, y, y_std, metric,
            metric_std, distance, best, in_region`. x and y are geometric means over seeds, their deviations
            those of the natural logarithm; `distance` is that to the best setting in the scaled plane.
        x: Name of the measure across.
        y: Name of the measure upwards.
        metric: Name of the metric.
        smaller_is_better: Its direction.
        epoch: Of the coordinates; None is each run's last.
        metric_epoch: Of the metric; None is each run's last.
        method: The surface that predicted left-out settings better: `nearest` or `process`.
        comparison: Leave-one-out of both (`method, rmse, mae, spearman, n`); of the metric's logarithm where
            it is positive, so that 0.1 is ten per cent.
        level: Metric at the border of the optimum region.
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
    def mapped(self) -> pl.DataFrame:
        """The settings that the surface is made of: fixed, finished, not diverged, both measures positive."""
        return self.points.filter(pl.col("on_surface"))

    def scaled(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(log x, log y) of `mapped` in the unit square, the lowest logs and the ranges."""
        return unit_square(np.log(self.mapped.select("x", "y").to_numpy()).reshape(-1, 2))

    def surface(self, method: Method | None = None, *, column: str = "metric") -> Surface:
        """The surface of a column of `points` over the unit square of the logs."""
        return Surface(self.scaled()[0], self.mapped[column].to_numpy(), method or self.method)

    def contour(
        self, method: Method | None = None, size: int = GRID, *, column: str = "metric"
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """x (size,), y (size,), value and deviation (size, size), for a contour plot on log axes."""
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
        lines += [_named(self.best), self._region_told(), self._methods_told()]
        return "\n".join(line for line in [*lines, *self.notes] if line)

    def _region_told(self) -> str:
        if not len(self.region):
            return ""
        (x_low, y_low), (x_high, y_high) = (
            self.region.select("x", "y").min().row(0),
            self.region.select("x", "y").max().row(0),
        )
        return (
            f"Region: {len(self.region)} of {len(self.mapped)} settings within {self.level:.4g}; {self.x} "
            f"{x_low:.4g} to {x_high:.4g}, {self.y} {y_low:.4g} to {y_high:.4g}."
        )

    def _methods_told(self) -> str:
        errors = dict(self.comparison.select("method", "rmse").iter_rows())
        if not errors or not math.isfinite(errors["nearest"]):
            return ""
        worse = (
            ""
            if min(errors["nearest"], errors["process"]) < errors["mean"]
            else " Neither beats the mean of the others."
        )
        shown = "the five nearest" if self.method == "nearest" else "the Gaussian process"
        told = [f"{errors[m]:.3g} by {t}" for m, t in zip(errors, METHODS, strict=True)]
        return (
            f"Left-out settings: root mean square error of log {self.metric} {', '.join(told)}; the map "
            f"shows {shown}.{worse}"
        )


def landscape(
    runs: RunsLike,
    *,
    x: str = COND,
    y: str = ENERGY,
    epoch: int | None = None,
    metric: str | None = None,
    metric_epoch: int | None = None,
    task: str | None = None,
) -> Landscape:
    """The (C̄_K, L_K) plane of a sweep at any epoch, the error surface over it, and the region of the best.

    Args:
        runs: From `load_runs`, or a directory.
        x: Measure across: any that `axes.measure` takes, such as `cond_geomean@relative:1e-2`.
        y: Measure upwards.
        epoch: Of the measures; None is each run's last.
        metric: Column of the epochs; by default the validation metric.
        metric_epoch: Of the metric; None is the end of each finished run.
        task: Which, where there are several.

    Raises:
        AnalysisError: No run, several tasks, or a measure or metric that is not recorded.
    """
    source = settings_of(runs, task=task)
    name, smaller = source.metric(metric)
    values = _per_run(source, x, y, name, epoch, metric_epoch)
    points = _per_setting(source, values)
    if not points["x"].is_not_null().any():
        raise AnalysisError(
            f"drawing the landscape of {source.describe()} at epoch {epoch}: no run has {x} and {y} there; "
            f"the runs reached epochs up to {source.last_epoch}"
        )
    points = points.with_columns(on_surface=_usable(points))
    notes = [*source.notes, *_missing(points, source, epoch)]
    mapped = points.filter(pl.col("on_surface"))
    comparison, method = _methods(mapped)
    points, level = _judged(points, name, smaller)
    return Landscape(
        points, x, y, name, smaller, epoch, metric_epoch, method, comparison, level, source.task, tuple(notes)
    )


def margin(best: float, name: str) -> float:
    """What counts as no worse than the best: 10 % of it, and for error rates at least 0.2 points."""
    share = MARGIN_SHARE * abs(best)
    kind = name.rpartition("/")[2]
    if kind.removesuffix(" %") not in ("error", "accuracy"):
        return share
    return max(share, MARGIN_POINTS * (100 if kind.endswith("%") else 1))


def _per_run(
    source: Settings, x: str, y: str, metric: str, epoch: int | None, metric_epoch: int | None
) -> pl.DataFrame:
    """The frame of runs with `x, y, metric`; unless at an epoch, a metric counts for finished runs only."""
    frame = source.frame
    for column, measure, when in (("x", x, epoch), ("y", y, epoch), ("metric", metric, metric_epoch)):
        found = at_epoch(source, measure, when).rename({"value": column})
        frame = frame.join(found, on="run_id", how="left")
    if metric_epoch is None:
        ended = pl.col("status") == "finished"
        frame = frame.with_columns(pl.when(ended).then(pl.col("metric")).alias("metric"))
    positive = (pl.col("x") > 0) & (pl.col("y") > 0)
    return frame.with_columns(pl.when(positive).then(pl.col(c).log()).alias(f"log_{c}") for c in ("x", "y"))


def _per_setting(source: Settings, values: pl.DataFrame) -> pl.DataFrame:
    return values.group_by("setting", maintain_order=True).agg(
        pl.col("fixed").first(),
        pl.col("batch_size").first(),
        pl.col("lr").first(),
        pl.col("seed").n_unique().alias("seeds"),
        (pl.col("status") == "diverged").sum().alias("diverged"),
        pl.col("log_x").mean().exp().alias("x"),
        pl.col("log_x").std().alias("x_std"),
        pl.col("log_y").mean().exp().alias("y"),
        pl.col("log_y").std().alias("y_std"),
        pl.col("metric").mean(),
        pl.col("metric").std().alias("metric_std"),
        pl.col("metric").count().alias("metric_seeds"),
    )


def _usable(points: pl.DataFrame) -> pl.Series:
    return points.select(
        pl.col("fixed")
        & (pl.col("diverged") == 0)
        & pl.all_horizontal(pl.col(c).is_not_null() & pl.col(c).is_finite() for c in ("x", "y", "metric"))
    ).to_series()


def _missing(points: pl.DataFrame, source: Settings, epoch: int | None) -> list[str]:
    notes = []
    absent = points.filter(pl.col("x").is_null())["setting"].to_list()
    if absent:
        notes.append(
            f"{len(absent)} of {len(points)} settings have no measures at "
            f"{'epoch ' + str(epoch) if epoch is not None else 'any epoch'}: {', '.join(absent[:6])}."
        )
    count = int(points["on_surface"].sum())
    if count < 4:
        notes.append(
            f"{count} fixed settings have finished without diverging: too few for a surface (at least 4), so "
            "points are shown without one."
        )
    elif count <= 2 * BEST:
        notes.append(f"The surface rests on {count} settings: read it as a sketch.")
    return notes


def _methods(mapped: pl.DataFrame) -> tuple[pl.DataFrame, Method]:
    if len(mapped) < 2:
        schema = {
            "method": pl.String,
            "rmse": pl.Float64,
            "mae": pl.Float64,
            "spearman": pl.Float64,
            "n": pl.Int64,
        }
        return pl.DataFrame(schema=schema), "nearest"
    table = compared(np.log(mapped.select("x", "y").to_numpy()), mapped["metric"].to_numpy())
    errors = dict(table.select("method", "rmse").iter_rows())
    return table, "process" if errors["process"] < errors["nearest"] else "nearest"


def _judged(points: pl.DataFrame, name: str, smaller: bool) -> tuple[pl.DataFrame, float]:
    """Which settings are the five best, which lie in the region, how far each is from the best."""
    mapped = points.filter(pl.col("on_surface")).sort("metric", descending=not smaller, maintain_order=True)
    if not len(mapped):
        nothing = pl.lit(None, dtype=pl.Float64).alias("distance")
        false = [pl.lit(False).alias(c) for c in ("best", "in_region")]
        return points.with_columns(nothing, *false), math.nan
    top = float(mapped["metric"][0])
    level = top + margin(top, name) * (1 if smaller else -1)
    inside = pl.col("metric") <= level if smaller else pl.col("metric") >= level
    best = mapped["setting"].to_list()[:BEST]
    logs = np.log(mapped.select("x", "y").to_numpy())
    _, low, reach = unit_square(logs)
    centre = (logs[0] - low) / reach
    axes = [
        ((pl.col(c).log() - float(low[k])) / float(reach[k]) - float(centre[k])) ** 2
        for k, c in enumerate("xy")
    ]
    return (
        points.with_columns(
            distance=(axes[0] + axes[1]).sqrt(),
            best=pl.col("setting").is_in(best),
            in_region=pl.col("on_surface") & inside,
        ),
        level,
    )


def _named(best: pl.DataFrame) -> str:
    if not len(best):
        return ""
    told = [
        f"{row['setting']} {row['metric']:.4g}"
        + (f" ± {row['metric_std']:.2g}" if row["metric_std"] is not None else "")
        for row in best.iter_rows(named=True)
    ]
    return f"Best: {'; '.join(told)}."
