"""Kinds of setting (fixed, staged, staged within rates, other), and the best setting of each."""

import polars as pl

from fisherscope.analysis.data.run_measures import at_epoch
from fisherscope.analysis.data.settings import Settings

KINDS = ("s#", "-∅", "-MS", "other")
"""Fixed sizes, stages over the whole training, stages within each learning-rate level, any other policy."""

COLUMNS = ("task", "kind", "setting", "mean", "std", "n", "hours")
"""Of a kind's best setting: mean, deviation and number of its runs' final metric."""


def best_of_kinds(
    source: Settings, lr: float | None, metric: str | None, paper: bool
) -> tuple[list[dict[str, object]], tuple[str, str]]:
    """The best setting of each kind, and the metrics that picked and that are shown.

    Args:
        source: One task's settings; only finished runs count.
        lr: Only runs of this initial learning rate.
        metric: Metric that picks; by default the validation metric.
        paper: Pick by the metric that is shown, the test metric.
    """
    picks, smaller = source.metric(metric)
    shown = f"test/{picks.rpartition('/')[2]}"
    shown = shown if shown in source.epochs.columns else picks
    picks = shown if paper else picks
    frame = source.frame.filter(pl.col("status") == "finished")
    if lr is not None:
        frame = frame.filter((pl.col("lr") - lr).abs() <= 1e-9 * lr)
    for column, name in (("picks", picks), ("shown", shown)):
        frame = frame.join(at_epoch(source, name).rename({"value": column}), on="run_id", how="inner")
    timed = [c for c in ("time/train_s",) if c in source.epochs.columns]
    hours = source.epochs.group_by("run_id").agg((pl.col(c).sum() / 3600).alias("hours") for c in timed)
    frame = frame.join(hours, on="run_id", how="left") if timed else frame.with_columns(hours=None)
    groups = frame.group_by("setting", "fixed", maintain_order=True).agg(
        pl.col("picks").mean(),
        pl.col("shown").mean().alias("mean"),
        pl.col("shown").std().alias("std"),
        pl.col("shown").count().alias("n"),
        pl.col("hours").mean(),
    )
    rows: dict[str, dict[str, object]] = {}
    for row in groups.sort("picks", descending=not smaller, maintain_order=True).iter_rows(named=True):
        kind = kind_of(row["setting"], row["fixed"])
        rows.setdefault(kind, {"task": source.task, "kind": kind} | {c: row[c] for c in COLUMNS[2:]})
    return list(rows.values()), (picks, shown)


def kind_of(setting: str, fixed: bool) -> str:
    """Of `KINDS`, by the setting's name."""
    if fixed:
        return "s#"
    if "-to-" in setting:
        return "-MS" if "-MS" in setting else "-∅"
    return "other"
