"""Measures of settings against epochs: mean and spread over comparable seeds."""

from __future__ import annotations

import polars as pl

from fisherscope.analysis.data.run_measures import measure
from fisherscope.analysis.data.settings import Settings
from fisherscope.analysis.errors import AnalysisError

Row = dict[str, object]


def lost_settings(source: Settings) -> list[str]:
    """Return the settings of which a run diverged or failed."""
    rows = source.frame.filter(pl.col("status").is_in(["diverged", "failed"]))
    return sorted(set(rows["setting"].to_list()))


def dead_settings(source: Settings) -> list[str]:
    """Return the settings of which every finished run has a dead network (`Runs.dead`)."""
    finished = source.frame.filter(pl.col("status") == "finished")
    rows = finished.group_by("setting").agg(pl.col("dead").all()).filter("dead")
    return sorted(rows["setting"].to_list())


def comparable(source: Settings) -> Settings:
    """Keep the finished seeds of each setting; if none has finished, all that have an epoch.

    A mean over seeds of which some have stopped would jump where they stop.

    Args:
        source: Runs.

    Returns:
        Those whose means over seeds can be drawn against epochs.
    """
    ended = (pl.col("status") == "finished").any().over("setting")
    return source.where((pl.col("reached") > 0) & ((pl.col("status") == "finished") | ~ended))


def over_seeds(source: Settings, name: str, *, geometric: bool = False) -> pl.DataFrame:
    """Average a measure over seeds, by setting and epoch, as far as all seeds of a setting go.

    Args:
        source: Of `comparable` runs.
        name: As `analysis.data.run_measures.measure` takes.
        geometric: Means and deviations of the logarithm (positive measures).

    Returns:
        `setting, fixed, batch_size, lr, epoch, step, value, low, high, seeds`; low and high are one deviation
        off the mean, null for one seed; step is null where the epochs do not say it.
    """
    common = source.frame.with_columns(common=pl.col("reached").min().over("setting"))
    rows = measure(source, name).join(common, on="run_id").filter(pl.col("epoch") <= pl.col("common"))
    epochs = source.epochs
    if "step" not in epochs.columns:  # loops that log epochs alone
        epochs = epochs.with_columns(step=pl.lit(None, dtype=pl.Int64))
    steps = epochs.select("run_id", "epoch", "step")
    rows = rows.join(steps, on=["run_id", "epoch"], how="left")
    value = pl.col("value").log() if geometric else pl.col("value")
    if geometric:
        rows = rows.filter(pl.col("value") > 0)
    keys = ("setting", "fixed", "batch_size", "lr", "epoch")
    means = rows.group_by(keys, maintain_order=True).agg(
        pl.col("step").mean(), value.mean().alias("value"), value.std().alias("std"), pl.len().alias("seeds")
    )
    means = means.with_columns(
        low=pl.col("value") - pl.col("std"), high=pl.col("value") + pl.col("std")
    ).drop("std")
    if geometric:
        means = means.with_columns(pl.col("value", "low", "high").exp())
    return means.sort("batch_size", "lr", "setting", "epoch", nulls_last=True)


def positions(source: Settings, x: str, y: str) -> pl.DataFrame:
    """Return the position of every setting in a plane of two measures at every epoch.

    Args:
        source: Of `comparable` runs.
        x: Measure across.
        y: Measure upwards.

    Returns:
        `setting, fixed, batch_size, lr, epoch, x, y, seeds`.
    """
    across, up = (over_seeds(source, name, geometric=True) for name in (x, y))
    joined = across.join(up.select("setting", "epoch", "value"), on=["setting", "epoch"], suffix="_up")
    return joined.rename({"value": "x", "value_up": "y"}).drop("low", "high", "step")


def one_rate(source: Settings, lr: float | None) -> tuple[Settings, float]:
    """Keep the settings with a constant batch size and one learning rate.

    Args:
        source: Runs.
        lr: Learning rate; by default that with most batch sizes, of several the nearest to 0.1.

    Returns:
        The runs, and the learning rate.

    Raises:
        AnalysisError: There is no constant batch size, or none at that learning rate.
    """
    fixed = source.fixed().where(pl.col("lr").is_not_null(), pl.col("batch_size").is_not_null())
    counts = fixed.frame.group_by("lr").agg(pl.col("batch_size").n_unique().alias("sizes")).sort("lr")
    if not len(counts):
        raise AnalysisError(
            f"drawing a line per batch size of {source.describe()}: no setting has a constant batch size and "
            "a learning rate; figures 1d, 5 and 6 show schedules"
        )
    if lr is None:
        nearest = (pl.col("lr").log10() + 1).abs()
        lr = float(counts.sort(pl.col("sizes"), -nearest, descending=True)["lr"][0])
    chosen = fixed.where((pl.col("lr") - lr).abs() <= 1e-9 * lr)
    if not len(chosen.frame):
        there = ", ".join(f"{value:g}" for value in counts["lr"])
        raise AnalysisError(
            f"drawing the learning rate {lr:g} of {source.describe()}: no such runs; there are {there}"
        )
    return chosen, lr
