"""What the page's charts draw, as plain data: settings in the plane at each epoch, surfaces, curves."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from scipy.spatial import ConvexHull

from fisherscope.analysis import AnalysisError, Landscape, Settings
from fisherscope.analysis.data.labels import metric_label, shown_scale
from fisherscope.analysis.data.run_measures import at_epoch
from fisherscope.analysis.data.seed_means import broken, comparable, over_seeds
from fisherscope.report.contours import SIZE, band_levels, bands
from fisherscope.report.html_text import rounded

Data = dict[str, Any]
STOPS = 60
"""Epochs that the page knows at most."""
PARTS = ("train", "val", "test")
WORDS = {
    "fisher/cond_mean": "C̄, mean condition number",
    "fisher/energy_sum": "L, summed energy",
    "fisher/cond_geomean": "geometric mean of c",
    "effective_rank_last": "effective rank",
    "noise/scale_mean": "noise scale (samples)",
}
MEASURES = (
    "fisher/cond_mean",
    "fisher/energy_sum",
    "fisher/cond_geomean",
    "effective_rank_last",
    "noise/scale_mean",
)
REACH = 0.05
"""How far beyond the settings a surface is shown, in parts of the plane's side."""


def chart_data(source: Settings, found: Landscape) -> Data:
    """Everything that the charts of the page need.

    Returns:
        `axes, metrics, measures, epochs, settings`; lists of a setting run along `epochs`.
    """
    stops = _stops(source.last_epoch)
    names = _metrics(source, found.metric)
    series = [*dict.fromkeys([found.x, found.y, *_recorded(source), *names])]
    lines = {name: _lines(source, name, stops) for name in series}
    settings = [_setting(row, lines, names, found) for row in _rows(source, found)]
    return {
        "axes": {c: {"name": name, "label": label(name)} for c, name in (("x", found.x), ("y", found.y))},
        "metrics": [_metric(source, name, found) for name in names],
        "measures": [{"name": n, "label": label(n)} for n in series if n not in names],
        "epochs": stops,
        "border": _border(found),
        "settings": settings,
    }


def label(name: str) -> str:
    """A measure's or a metric's name in words."""
    if name in WORDS:
        return WORDS[name]
    part = name.partition("/")[0]
    return metric_label(name) if part in PARTS else name.removeprefix("fisher/").replace("_", " ")


def _stops(last: int) -> list[int]:
    few = {k for k in range(1, 5) if k <= last}
    return sorted(few | {round(k) for k in np.linspace(1, last, STOPS - 4)}) if last else []


def _metrics(source: Settings, name: str) -> list[str]:
    """The metric that decides, and the same of the other parts."""
    part, _, kind = name.rpartition("/")
    wanted = [f"{p}/{kind}" for p in PARTS if p != part]
    return [name, *(c for c in wanted if c in source.epochs.columns)]


def _recorded(source: Settings) -> list[str]:
    """Those of `MEASURES` that these runs have."""
    return [name for name in MEASURES if _there(source, name)]


def _there(source: Settings, name: str) -> bool:
    try:
        return bool(len(over_seeds(comparable(source), name)))
    except AnalysisError:
        return False


def _lines(source: Settings, name: str, stops: list[int]) -> dict[str, list[float | None]]:
    """The mean over seeds along the stops, by setting."""
    geometric = name.partition("/")[0] not in PARTS
    rows = over_seeds(comparable(source), name, geometric=geometric).filter(pl.col("epoch").is_in(stops))
    place = {epoch: k for k, epoch in enumerate(stops)}
    lines: dict[str, list[float | None]] = {}
    for setting, epoch, value in rows.select("setting", "epoch", "value").iter_rows():
        lines.setdefault(setting, [None] * len(stops))[place[epoch]] = rounded(value)
    return lines


def _rows(source: Settings, found: Landscape) -> list[dict[str, Any]]:
    """A row a setting: its state, and its final metrics over seeds."""
    lost, frame = set(broken(source)), source.frame
    states = frame.group_by("setting", maintain_order=True).agg(
        pl.col("status").unique(), pl.col("reached").max(), pl.col("planned").max()
    )
    kept = {row["setting"]: row for row in found.points.iter_rows(named=True)}
    rows = []
    for state in states.iter_rows(named=True):
        row = kept[state["setting"]]
        told = "diverged" if row["setting"] in lost else "finished"
        unfinished = [s for s in state["status"] if s not in ("finished", "diverged", "failed")]
        if told == "finished" and "finished" not in state["status"]:
            told = unfinished[0] if unfinished else state["status"][0]
        rows.append(row | {"state": told, "reached": state["reached"], "planned": state["planned"]})
    return rows


def _setting(
    row: dict[str, Any], lines: dict[str, dict[str, list[float | None]]], metrics: list[str], found: Landscape
) -> Data:
    name = row["setting"]
    return {
        "name": name, "fixed": row["fixed"], "batch": row["batch_size"], "lr": row["lr"],
        "seeds": row["seeds"], "state": row["state"], "reached": row["reached"], "planned": row["planned"],
        "lines": {key: by_setting[name] for key, by_setting in lines.items() if name in by_setting},
        "deviation": rounded(row["metric_std"]),
    }  # fmt: skip


def _metric(source: Settings, name: str, found: Landscape) -> Data:
    """A metric with its direction, best settings, bands of colour and surface."""
    _, smaller = source.metric(name)
    points = found.points.join(_finals(source, name), on="setting", how="left")
    usable = points.filter(pl.col("on_surface") & pl.col("final").is_not_null())
    scale = shown_scale(name)
    made: Data = {"name": name, "label": label(name), "scale": scale, "smaller": smaller}
    made["finals"] = {
        s: rounded(v) for s, v in points.select("setting", "final").iter_rows() if v is not None
    }
    ranked = usable.sort("final", descending=not smaller, maintain_order=True)["setting"].to_list()
    made |= {"best": ranked[:5], "levels": [], "bands": []}
    if len(usable):
        levels = band_levels(usable["final"].to_numpy(), smaller)
        made["levels"] = [rounded(level) for level in levels]
        if len(usable) == len(found.mapped) >= 4 and levels[0] < levels[-1]:
            made["bands"] = _surface(found, points, levels)
    return made


def _finals(source: Settings, name: str) -> pl.DataFrame:
    ended = source.where(pl.col("status") == "finished")
    rows = ended.frame.select("run_id", "setting").join(at_epoch(ended, name), on="run_id")
    return rows.group_by("setting").agg(pl.col("value").mean().alias("final"))


def _surface(found: Landscape, points: pl.DataFrame, levels: list[float]) -> list[Data]:
    from dataclasses import replace

    of_metric = replace(found, points=points)
    x, y, value, _ = of_metric.contour(size=SIZE, column="final")
    return bands(np.log10(x), np.log10(y), value, levels)


def _border(found: Landscape) -> list[float]:
    """Corners of the part of the plane that lies among the settings, as a ring of base-10 logarithms."""
    if len(found.mapped) < 4:
        return []
    points, low, reach = found.scaled()
    turn = np.linspace(0.0, 2 * np.pi, 24)
    around = (points[:, None] + REACH * np.stack([np.cos(turn), np.sin(turn)], axis=-1)).reshape(-1, 2)
    corners = (low + reach * around[ConvexHull(around).vertices]) / np.log(10)
    return [round(float(v), 3) for v in corners.ravel()]
