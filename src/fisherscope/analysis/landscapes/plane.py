"""The landscape: settings in the plane of two measures, with a metric over it."""

import math

import numpy as np
import polars as pl

from fisherscope.analysis.data.labels import metric_kind
from fisherscope.analysis.data.run_measures import COND, ENERGY, at_epoch
from fisherscope.analysis.data.settings import RunsLike, Settings, settings_of
from fisherscope.analysis.errors import AnalysisError
from fisherscope.analysis.landscapes.result import Landscape
from fisherscope.analysis.landscapes.surface import Method, compare_methods, unit_square

BEST = 5
MARGIN_SHARE, MARGIN_POINTS = 0.1, 0.002
"""The region: within 10 % of the best value, for errors at least 0.2 points (docs/evidence.md, rule 7)."""


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
    """Place the settings of a sweep in a plane of two measures, by default (C̄_K, L_K).

    Args:
        runs: From `load_runs`, or a directory.
        x: Measure across: any that was recorded, or `cond_geomean@relative:1e-2` (docs/analysis.md).
        y: Measure upwards.
        epoch: Epoch of the measures; None is each run's last.
        metric: Column of the epochs; the validation metric by default.
        metric_epoch: Epoch of the metric; None is the end of each finished run.
        task: Task, if the runs are of several.

    Returns:
        The settings, the error surface over them, and the region of the best ones.

    Raises:
        AnalysisError: There is no run, several tasks, or a measure or metric that is not recorded.

    Cost: a second for 100 settings; at most 48 fits of each surface.

    Example:
        ```python
        import fisherscope as fs

        for size in (8, 16, 32, 64):
            config = {"batch_size": size, "lr": 0.1, "seed": 0, "epochs": 1}
            with fs.open_run(f"runs/landscape/s{size}", config) as run:
                run.log_epoch(val_error=0.1 + 1 / size, fisher_cond_mean=size, fisher_energy_sum=100 / size)
        landscape = fs.landscape("runs/landscape")
        assert landscape.best["setting"][0] == "s64-lr0.1"
        points, lowest, ranges = landscape.scaled()
        assert points.shape == (4, 2)
        value, deviation = landscape.surface().at(points)
        x, y, value, deviation = landscape.contour(size=5)
        assert value.shape == (5, 5)
        ```
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
    on_surface = points.filter(pl.col("on_surface"))
    comparison, method = _methods(on_surface)
    points, level = _mark_best(points, name, smaller)
    return Landscape(
        points, x, y, name, smaller, epoch, metric_epoch, method, comparison, level, source.task, tuple(notes)
    )


def margin(best: float, name: str) -> float:
    """Return how much worse than the best still counts as good.

    It is 10 % of the best, and for error rates at least 0.2 points.

    Args:
        best: Best value of the metric.
        name: Name of the metric.

    Returns:
        In the unit of the metric.
    """
    share = MARGIN_SHARE * abs(best)
    kind = metric_kind(name)
    if kind.removesuffix(" %") not in ("error", "accuracy"):
        return share
    return max(share, MARGIN_POINTS * (100 if kind.endswith("%") else 1))


def _per_run(
    source: Settings, x: str, y: str, metric: str, epoch: int | None, metric_epoch: int | None
) -> pl.DataFrame:
    """Return the runs with `x, y, metric`; by default only finished runs have a metric."""
    frame = source.frame
    for column, measure, when in (("x", x, epoch), ("y", y, epoch), ("metric", metric, metric_epoch)):
        values = at_epoch(source, measure, when).rename({"value": column})
        frame = frame.join(values, on="run_id", how="left")
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
        notes.append(f"The surface is based on {count} settings only: treat it as a sketch.")
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
    table = compare_methods(np.log(mapped.select("x", "y").to_numpy()), mapped["metric"].to_numpy())
    errors = dict(table.select("method", "rmse").iter_rows())
    return table, "process" if errors["process"] < errors["nearest"] else "nearest"


def _mark_best(points: pl.DataFrame, name: str, smaller: bool) -> tuple[pl.DataFrame, float]:
    """Mark the five best and the region, and give the distance of each from the best."""
    on_surface = points.filter(pl.col("on_surface")).sort(
        "metric", descending=not smaller, maintain_order=True
    )
    if not len(on_surface):
        nothing = pl.lit(None, dtype=pl.Float64).alias("distance")
        false = [pl.lit(False).alias(c) for c in ("best", "in_region")]
        return points.with_columns(nothing, *false), math.nan
    top = float(on_surface["metric"][0])
    level = top + margin(top, name) * (1 if smaller else -1)
    inside = pl.col("metric") <= level if smaller else pl.col("metric") >= level
    best = on_surface["setting"].to_list()[:BEST]
    logs = np.log(on_surface.select("x", "y").to_numpy())
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
