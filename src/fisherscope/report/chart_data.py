"""Collect what the page's charts draw, as plain data: settings at each epoch, surfaces, curves."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from scipy.spatial import ConvexHull

from fisherscope.analysis import AnalysisError, Landscape, Settings
from fisherscope.analysis.data.labels import metric_label, shown_scale
from fisherscope.analysis.data.run_measures import at_epoch
from fisherscope.analysis.data.seed_means import comparable, dead_settings, lost_settings, over_seeds
from fisherscope.report.contours import SIZE, band_levels, bands
from fisherscope.report.html_text import round_digits
from fisherscope.runs.dead_network import DEAD

Data = dict[str, Any]
STOPS = 60
"""Largest number of epochs on a page."""
PARTS = ("train", "val", "test")
WORDS = {
    "fisher/cond_mean": "C̄, mean condition number",
    "fisher/cond_mean_epochs": "C̄, every epoch alike",
    "fisher/energy_sum": "L, summed energy",
    "fisher/cond_geomean": "geometric mean of c",
    "effective_rank_last": "effective rank",
    "noise/scale_mean": "noise scale (samples)",
}
MEASURES = (
    "fisher/cond_mean",
    "fisher/cond_mean_epochs",
    "fisher/energy_sum",
    "fisher/cond_geomean",
    "effective_rank_last",
    "noise/scale_mean",
)
OVERHANG = 0.05
"""How far a surface is drawn beyond the settings, as a share of the plane's side."""


def chart_data(source: Settings, landscape: Landscape) -> Data:
    """Collect everything that the charts of the page need.

    Args:
        source: The runs of the page.
        landscape: Their landscape.

    Returns:
        `axes, metrics, measures, epochs, border, settings`; lists of a setting run along `epochs`.
    """
    stops = _stops(source.last_epoch)
    names = _metrics(source, landscape.metric)
    series = [*dict.fromkeys([landscape.x, landscape.y, *_measures_of(source), *names])]
    lines = {name: _lines(source, name, stops) for name in series}
    settings = [_setting(row, lines, names, landscape) for row in _rows(source, landscape)]
    return {
        "axes": {
            c: {"name": name, "label": label(name)} for c, name in (("x", landscape.x), ("y", landscape.y))
        },
        "metrics": [_metric(source, name, landscape) for name in names],
        "measures": [{"name": n, "label": label(n)} for n in series if n not in names],
        "epochs": stops,
        "border": _border(landscape),
        "settings": settings,
    }


def label(name: str) -> str:
    """Name a measure or a metric in words."""
    if name in WORDS:
        return WORDS[name]
    part = name.partition("/")[0]
    return metric_label(name) if part in PARTS else name.removeprefix("fisher/").replace("_", " ")


def _stops(last: int) -> list[int]:
    few = {k for k in range(1, 5) if k <= last}
    return sorted(few | {round(k) for k in np.linspace(1, last, STOPS - 4)}) if last else []


def _metrics(source: Settings, name: str) -> list[str]:
    """Return the metric that decides, and the same metric of the other splits."""
    part, _, kind = name.rpartition("/")
    wanted = [f"{p}/{kind}" for p in PARTS if p != part]
    return [name, *(c for c in wanted if c in source.epochs.columns)]


def _measures_of(source: Settings) -> list[str]:
    """Return those of `MEASURES` that these runs have."""
    return [name for name in MEASURES if _has(source, name)]


def _has(source: Settings, name: str) -> bool:
    try:
        return bool(len(over_seeds(comparable(source), name)))
    except AnalysisError:
        return False


def _lines(source: Settings, name: str, stops: list[int]) -> dict[str, list[float | None]]:
    """Return the mean over seeds along the stops, by setting."""
    geometric = name.partition("/")[0] not in PARTS
    rows = over_seeds(comparable(source), name, geometric=geometric).filter(pl.col("epoch").is_in(stops))
    at = {epoch: k for k, epoch in enumerate(stops)}
    lines: dict[str, list[float | None]] = {}
    for setting, epoch, value in rows.select("setting", "epoch", "value").iter_rows():
        lines.setdefault(setting, [None] * len(stops))[at[epoch]] = round_digits(value)
    return lines


def _rows(source: Settings, landscape: Landscape) -> list[dict[str, Any]]:
    """Return a row a setting: its state, and its final metrics over seeds."""
    lost, dead, frame = set(lost_settings(source)), set(dead_settings(source)), source.frame
    states = frame.group_by("setting", maintain_order=True).agg(
        pl.col("status").unique(), pl.col("reached").max(), pl.col("planned").max()
    )
    points = {row["setting"]: row for row in landscape.points.iter_rows(named=True)}
    rows = []
    for state in states.iter_rows(named=True):
        row = points[state["setting"]]
        status = "diverged" if row["setting"] in lost else "finished"
        unfinished = [s for s in state["status"] if s not in ("finished", "diverged", "failed")]
        if status == "finished" and "finished" not in state["status"]:
            status = unfinished[0] if unfinished else state["status"][0]
        elif status == "finished" and row["setting"] in dead:
            status = DEAD
        rows.append(row | {"state": status, "reached": state["reached"], "planned": state["planned"]})
    return rows


def _setting(
    row: dict[str, Any],
    lines: dict[str, dict[str, list[float | None]]],
    metrics: list[str],
    landscape: Landscape,
) -> Data:
    name = row["setting"]
    return {
        "name": name, "fixed": row["fixed"], "batch": row["batch_size"], "lr": row["lr"],
        "seeds": row["seeds"], "state": row["state"], "reached": row["reached"], "planned": row["planned"],
        "lines": {key: by_setting[name] for key, by_setting in lines.items() if name in by_setting},
        "deviation": round_digits(row["metric_std"]),
    }  # fmt: skip


def _metric(source: Settings, name: str, landscape: Landscape) -> Data:
    """Describe a metric: direction, final values, best settings, bands of colour and surface."""
    _, smaller = source.metric(name)
    points = landscape.points.join(_finals(source, name), on="setting", how="left")
    usable = points.filter(pl.col("on_surface") & pl.col("final").is_not_null())
    scale = shown_scale(name)
    metric: Data = {"name": name, "label": label(name), "scale": scale, "smaller": smaller}
    metric["finals"] = {
        s: round_digits(v) for s, v in points.select("setting", "final").iter_rows() if v is not None
    }
    ranked = usable.sort("final", descending=not smaller, maintain_order=True)["setting"].to_list()
    metric |= {"best": ranked[:5], "levels": [], "bands": []}
    if len(usable):
        levels = band_levels(usable["final"].to_numpy(), smaller)
        metric["levels"] = [round_digits(level) for level in levels]
        if len(usable) == len(landscape.surface_settings) >= 4 and levels[0] < levels[-1]:
            metric["bands"] = _surface(landscape, points, levels)
    return metric


def _finals(source: Settings, name: str) -> pl.DataFrame:
    ended = source.where(pl.col("status") == "finished")
    rows = ended.frame.select("run_id", "setting").join(at_epoch(ended, name), on="run_id")
    return rows.group_by("setting").agg(pl.col("value").mean().alias("final"))


def _surface(landscape: Landscape, points: pl.DataFrame, levels: list[float]) -> list[Data]:
    from dataclasses import replace

    of_metric = replace(landscape, points=points)
    x, y, value, _ = of_metric.contour(size=SIZE, column="final")
    return bands(np.log10(x), np.log10(y), value, levels)


def _border(landscape: Landscape) -> list[float]:
    """Return the corners of the area between the settings, as a ring of base-10 logarithms."""
    if len(landscape.surface_settings) < 4:
        return []
    points, low, extent = landscape.scaled()
    turn = np.linspace(0.0, 2 * np.pi, 24)
    around = (points[:, None] + OVERHANG * np.stack([np.cos(turn), np.sin(turn)], axis=-1)).reshape(-1, 2)
    corners = (low + extent * around[ConvexHull(around).vertices]) / np.log(10)
    return [round(float(v), 3) for v in corners.ravel()]
