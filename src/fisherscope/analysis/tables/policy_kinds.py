"""Kinds of setting (fixed, staged, staged per level, other), and the best of each."""

import polars as pl

from fisherscope.analysis.data.run_measures import at_epoch
from fisherscope.analysis.data.run_times import RunTimes
from fisherscope.analysis.data.settings import Settings

KINDS = ("s#", "-∅", "-MS", "other")
"""Fixed, staged over the whole run, staged within each learning-rate level, any other policy."""

COLUMNS = ("task", "kind", "setting", "mean", "std", "n", "hours", "steps")
"""Best setting of a kind: mean, deviation and number of its runs' final metric, hours and steps of a run."""


def best_of_kinds(
    source: Settings, times: RunTimes, lr: float | None, metric: str | None, paper: bool
) -> tuple[list[dict[str, object]], tuple[str, str]]:
    """Return the best setting of each kind.

    Args:
        source: One task's settings; only finished runs count.
        times: What these runs took.
        lr: Only runs of this initial learning rate.
        metric: Metric that picks; the validation metric by default.
        paper: Pick by the metric that is shown, the test metric.

    Returns:
        A row per kind, and the metrics that picked and that are shown.
    """
    picks, smaller = source.metric(metric)
    displayed = f"test/{picks.rpartition('/')[2]}"
    displayed = displayed if displayed in source.epochs.columns else picks
    picks = displayed if paper else picks
    frame = source.frame.filter(pl.col("status") == "finished")
    if lr is not None:
        frame = frame.filter((pl.col("lr") - lr).abs() <= 1e-9 * lr)
    for column, name in (("picks", picks), ("shown", displayed)):
        frame = frame.join(at_epoch(source, name).rename({"value": column}), on="run_id", how="inner")
    hours = times.frame.select("run_id", "steps", (pl.col("seconds") / 3600).alias("hours"))
    frame = frame.join(hours, on="run_id", how="left")
    groups = frame.group_by("setting", "fixed", maintain_order=True).agg(
        pl.col("picks").mean(),
        pl.col("shown").mean().alias("mean"),
        pl.col("shown").std().alias("std"),
        pl.col("shown").count().alias("n"),
        pl.col("hours").mean(),
        pl.col("steps").mean(),
    )
    rows: dict[str, dict[str, object]] = {}
    for row in groups.sort("picks", descending=not smaller, maintain_order=True).iter_rows(named=True):
        kind = kind_of(row["setting"], row["fixed"])
        rows.setdefault(kind, {"task": source.task, "kind": kind} | {c: row[c] for c in COLUMNS[2:]})
    return list(rows.values()), (picks, displayed)


def kind_of(setting: str, fixed: bool) -> str:
    """Return the kind of a setting, one of `KINDS`, by its name."""
    if fixed:
        return "s#"
    if "-to-" in setting:
        return "-MS" if "-MS" in setting else "-∅"
    return "other"
