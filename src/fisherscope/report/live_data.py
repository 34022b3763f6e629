"""Collect the current state of runs for the live page: a row and curves each."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import polars as pl

from fisherscope.analysis.data.labels import shown_scale
from fisherscope.analysis.data.run_measures import COND, ENERGY
from fisherscope.analysis.data.setting_of_run import FIXED_POLICY
from fisherscope.plain_text import duration
from fisherscope.report.chart_data import MEASURES, label
from fisherscope.report.contours import band_levels
from fisherscope.report.html_text import round_digits
from fisherscope.runs.dead_network import DEAD, dead_reason
from fisherscope.runs.reader import Runs

Data = dict[str, Any]
POINTS = 200
"""Largest number of points of a curve."""
STEPS = {
    "train/loss": "loss of the measured batch", "fisher/cond": "c, condition number of a batch",
    "fisher/energy": "l, energy of a step", COND: "C̄, at measured steps", ENERGY: "L, at measured steps",
    "fisher/effective_rank": "effective rank of a batch", "batch_size": "batch size", "lr": "learning rate",
}  # fmt: skip
METRICS = ("val/error", "train/error", "test/error", "val/loss", "train/loss")
COLUMNS = ("run", "state", "epoch", "time left", "batch size", "rate", "C̄", "L")
BAR = COLUMNS.index("epoch")


def live_data(runs: Runs) -> Data:
    """Collect what the live page shows.

    Args:
        runs: The runs of the directory, finished or not.

    Returns:
        `title, summary, columns, rows`, and the charts' data with each run as a setting.
    """
    epochs, steps = runs.epochs, runs.steps
    metrics = [name for name in METRICS if name in epochs.columns]
    names = [*metrics, *(name for name in MEASURES if name in epochs.columns)]
    reached = sorted(set(epochs["epoch"].to_list()))
    stops = sorted({*reached[:: 1 + len(reached) // POINTS], *reached[-1:]})
    measured = [name for name in STEPS if name in steps.columns]
    settings = [_run(row, epochs, steps, names, measured, stops) for row in runs.runs.iter_rows(named=True)]
    states = Counter(setting["state"] for setting in settings)
    metric = metrics[0] if metrics else None
    return {
        "title": f"{states['running']} running · fisherscope watch",
        "summary": ", ".join(f"{count} {state}" for state, count in states.most_common()) or "no run yet",
        "columns": [*COLUMNS, *([label(metric)] if metric else [])],
        "rows": [_row(setting, metric) for setting in _newest(runs, settings)],
        "axes": {c: {"name": name, "label": label(name)} for c, name in (("x", COND), ("y", ENERGY))},
        "metrics": [_metric(name, settings) for name in metrics],
        "measures": [{"name": name, "label": label(name)} for name in names if name not in metrics],
        "steps": [{"name": name, "label": STEPS[name]} for name in measured],
        "epochs": stops, "border": [], "settings": settings,
    }  # fmt: skip


def _run(
    row: dict[str, Any], epochs: pl.DataFrame, steps: pl.DataFrame, names: list[str], measured: list[str],
    stops: list[int],
) -> Data:  # fmt: skip
    mine, fine = (frame.filter(pl.col("run_id") == row["run_id"]) for frame in (epochs, steps))
    at = {epoch: k for k, epoch in enumerate(stops)}
    lines: dict[str, list[float | None]] = {name: [None] * len(stops) for name in names}
    for one in mine.select("epoch", *names).iter_rows(named=True):
        for name in names:
            if one["epoch"] in at:
                lines[name][at[one["epoch"]]] = round_digits(one[name])
    fixed = FIXED_POLICY.fullmatch(str(row.get("policy") or "")) is not None
    reached = int(mine["epoch"].to_numpy().max()) if len(mine) else 0
    is_dead = row["status"] == "finished" and bool(dead_reason(mine.to_dicts()))
    return {
        "name": row["run_id"], "fixed": fixed, "batch": row.get("batch_size"),
        "lr": row.get("lr"), "seeds": 1, "state": DEAD if is_dead else row["status"], "reached": reached,
        "planned": row.get("epochs"), "lines": {name: line for name, line in lines.items() if any(
            value is not None for value in line)},
        "steps": {name: curve for name in measured if (curve := _curve(fine, name))},
        "now": _now(fine, mine), "left": _seconds_left(mine, row.get("epochs"), reached, row["status"]),
    }  # fmt: skip


def _curve(rows: pl.DataFrame, name: str) -> list[list[float | None]] | None:
    """Return epochs and values of a column of the measured steps; None if there are none."""
    points = rows.select("epoch", pl.col(name).cast(pl.Float64, strict=False)).drop_nulls()
    if not len(points):
        return None
    at = np.unique(np.linspace(0, len(points) - 1, min(POINTS, len(points))).astype(int)).tolist()
    return [[round_digits(v) for v in points[at][column]] for column in points.columns]


def _now(steps: pl.DataFrame, epochs: pl.DataFrame) -> Data:
    """Return the latest values; a last batch may be small, so the size is the largest of three."""
    values: Data = {}
    if "batch_size" in steps.columns and len(steps):
        values["batch_size"] = steps["batch_size"].tail(3).max()
    for name in ("lr", COND, ENERGY):
        for rows in (steps, epochs):
            if name in rows.columns and len(latest := rows[name].drop_nulls()):
                values[name] = round_digits(latest[-1])
                break
    return values


def _seconds_left(epochs: pl.DataFrame, planned: int | None, reached: int, state: str) -> float | None:
    """Estimate the time left: the epochs to go times the mean of the last ones."""
    times = [name for name in ("time/train_s", "time/eval_s") if name in epochs.columns]
    if state != "running" or not planned or not times or not len(epochs):
        return None
    last = epochs.tail(5).select(pl.sum_horizontal(times).mean()).item()
    return None if last is None else float(last) * (planned - reached)


def _row(setting: Data, metric: str | None) -> Data:
    now, planned, left = setting["now"], setting["planned"], setting["left"]
    value = _latest(setting["lines"].get(metric, []))
    percent = None if value is None or metric is None else value * shown_scale(metric)
    cells = [
        setting["name"], setting["state"], f"{setting['reached']}" + (f" of {planned}" if planned else ""),
        None if left is None else duration(left), now.get("batch_size"),
        now.get("lr"), now.get(COND), now.get(ENERGY), *([] if metric is None else [percent]),
    ]  # fmt: skip
    under_way = planned and setting["state"] == "running"
    share = min(1.0, setting["reached"] / planned) if under_way else None
    return {"run": setting["name"], "cells": cells, "bar": BAR, "share": share}


def _newest(runs: Runs, settings: list[Data]) -> list[Data]:
    """Sort running runs first, then by the last change."""
    updated = dict(runs.runs.select("run_id", "updated").iter_rows())
    late = sorted(settings, key=lambda s: str(updated[s["name"]]), reverse=True)
    return sorted(late, key=lambda s: s["state"] != "running")


def _metric(name: str, settings: list[Data]) -> Data:
    """Describe a metric of the finished runs; smaller is better for all of `METRICS`."""
    ends = {s["name"]: _latest(s["lines"].get(name, [])) for s in settings if s["state"] == "finished"}
    finals = {run: value for run, value in ends.items() if value is not None}
    values = np.array(list(finals.values()))
    levels = band_levels(values, True) if len(values) > 1 else []
    return {
        "name": name, "label": label(name), "scale": shown_scale(name), "smaller": True, "finals": finals,
        "best": sorted(finals, key=lambda run: finals[run])[:5], "levels": [round_digits(v) for v in levels],
        "bands": [],
    }  # fmt: skip


def _latest(line: list[float | None]) -> float | None:
    return next((value for value in reversed(line) if value is not None), None)
