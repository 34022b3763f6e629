"""Collect what the page of one run draws, as plain data: time lines, decisions, spectra."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from fisherscope.analysis.data.labels import metric_label, shown_scale
from fisherscope.measures import NoiseWindow
from fisherscope.report.html_text import round_digits
from fisherscope.runs.errors import DamagedRunError
from fisherscope.runs.reader import Runs

Data = dict[str, Any]
Row = Mapping[str, Any]
POINTS = 800
"""Largest number of measured steps on a page."""
COLUMNS, BINS = 160, 48
"""Largest number of spectra, and of bins of their singular values."""
FEWEST = 3
"""Measurements from which the window's noise scale is drawn."""
LEVEL = 0.9
"""Coverage of the noise scale's interval."""
DECISION = re.compile(r"step (\d+): (.*)", re.S)
AXES = {"step": "step", "epoch": "epoch", "samples": "samples"}
PARTS = ("train", "val", "test")
WIDE = 20.0
"""Largest over smallest value from which an axis is logarithmic to begin with."""


def run_data(runs: Runs, run_id: str) -> Data:
    """Collect what the charts of a run's page need.

    Args:
        runs: Loaded runs.
        run_id: A key of `runs.paths`.

    Returns:
        `axes` (name and label), `x` (a list for each axis, a place a point), `charts` (lines along the
        points), `decisions` and `spectrum`; what was not recorded is None, a chart without values left out.
    """
    one = runs.filter(pl.col("run_id") == run_id)
    steps, epochs = one.steps.to_dicts(), one.epochs.to_dicts()
    points = Points.of(steps, epochs)
    charts = [
        _losses(points), *_metrics(points), _size_and_rate(points), _noise(points, steps),
        *(_measure(points, *names) for names in MEASURES),
    ]  # fmt: skip
    return {
        "axes": [{"name": name, "label": AXES[name]} for name in points.x],
        "x": points.x,
        "charts": [chart for chart in charts if chart["lines"]],
        "decisions": _decisions(points, epochs),
        "spectrum": _spectrum(points, one, run_id, len(steps)),
    }


@dataclass(frozen=True)
class Points:
    """Hold the rows of a run, measured steps and epochs, in the order of their steps."""

    rows: Sequence[Row]
    of_epochs: Sequence[bool]
    """Whether each row is an epoch's."""
    steps: Sequence[int]
    """Place of each row among the measured steps; -1 for an epoch's."""
    x: dict[str, list[float]]
    """Places along each axis that all rows have."""

    @classmethod
    def of(cls, steps: Sequence[Row], epochs: Sequence[Row]) -> Points:
        """Merge the rows of a run; of many measured steps some are taken, evenly."""
        taken = np.unique(np.linspace(0, len(steps) - 1, min(POINTS, len(steps))).astype(int)).tolist()
        merged = [(steps[k], False, k) for k in taken] + [(row, True, -1) for row in epochs]
        axes = [name for name in AXES if all(_number(row.get(name)) is not None for row, _, _ in merged)]
        if merged and not axes:
            axes, merged = ["epoch"], [one for one in merged if _number(one[0].get("epoch")) is not None]
        merged.sort(key=lambda one: (*(_number(one[0][name]) or 0.0 for name in axes[:1]), one[1]))
        x = {name: _rising([float(row[name]) for row, _, _ in merged]) for name in axes}
        return cls([r for r, _, _ in merged], [e for _, e, _ in merged], [k for _, _, k in merged], x)

    def line(self, name: str, text: str, *, epochs: bool | None = None, scale: float = 1.0) -> Data:
        """Return a column along the points, of the epochs alone, of the steps alone or of both."""
        values = [
            None
            if value is None or (epochs is not None and epochs != of_epoch)
            else round_digits(scale * value)
            for value, of_epoch in zip((_number(r.get(name)) for r in self.rows), self.of_epochs, strict=True)
        ]
        return {"label": text, "values": values}


def _rising(places: list[float]) -> list[float]:
    """Return places that never fall: an own loop's epochs need not agree with its samples."""
    return np.maximum.accumulate(places).tolist() if places else []


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


def _chart(title: str, lines: Sequence[Data], *, log: bool | None = None, **more: Any) -> Data:
    """Return a chart of the lines that have values; its axis is logarithmic if these are wide apart."""
    kept = [line for line in lines if any(value is not None for value in line["values"])]
    if log is None:
        left = [
            value for line in kept if not line.get("right") for value in line["values"] if value is not None
        ]
        log = bool(left) and min(left) > 0 and max(left) > WIDE * min(left)
    return {"title": title, "lines": kept, "log": log, **more}


def _losses(points: Points) -> Data:
    parts = [points.line(f"{part}/loss", metric_label(f"{part}/loss"), epochs=True) for part in PARTS]
    batch = points.line("train/loss", "loss of the measured batch", epochs=False) | {"faint": True}
    return _chart("Loss", [batch, *parts])


def _metrics(points: Points) -> list[Data]:
    """Return a chart for each kind of metric other than the loss."""
    kinds = dict.fromkeys(
        kind
        for row, of_epoch in zip(points.rows, points.of_epochs, strict=True)
        if of_epoch
        for name in row
        for part, _, kind in [name.partition("/")]
        if part in PARTS and kind not in ("", "loss", "loss_running", "error_running")
    )
    charts = []
    for kind in kinds:
        names = [f"{part}/{kind}" for part in PARTS]
        lines = [points.line(n, metric_label(n), epochs=True, scale=shown_scale(n)) for n in names]
        charts.append(_chart(kind.replace("_", " ").capitalize(), lines))
    return charts


def _size_and_rate(points: Points) -> Data:
    size = points.line("batch_size", "batch size") | {"stairs": True}
    rate = points.line("lr", "learning rate") | {"stairs": True, "right": True}
    return _chart("Batch size and learning rate", [size, rate], log=True, base=2, decisions=True)


def _noise(points: Points, steps: Sequence[Row]) -> Data:
    """Return the noise scale over a window with its interval, beside the batch size."""
    window, at = NoiseWindow(), list[tuple[float | None, float | None, float | None]]()
    for row in steps:
        variance, signal = _number(row.get("noise/variance")), _number(row.get("noise/signal"))
        if variance is not None and signal is not None:
            window.add(variance, signal)
        is_known = variance is not None and signal is not None and len(window.variances) >= FEWEST
        low, high = window.interval(LEVEL) if is_known else (math.nan, math.nan)
        at.append(
            (round_digits(window.scale if is_known else None), round_digits(low or None), round_digits(high))
        )
    columns = [at[k] if k >= 0 else (None, None, None) for k in points.steps]
    scale, lows, highs = ([column[part] for column in columns] for part in range(3))
    if not any(value is not None for value in [*scale, *lows]):
        return _chart("Noise scale", [])
    lines: list[Data] = [
        {"label": "noise scale", "values": scale},
        {"label": f"{LEVEL:.0%} interval, low", "values": lows, "band": "low"},
        {"label": f"{LEVEL:.0%} interval, high", "values": highs, "band": "high"},
        points.line("batch_size", "batch size") | {"stairs": True},
    ]
    return _chart("Noise scale", lines, log=True)


MEASURES = (
    ("Effective rank", "fisher/effective_rank", "effective rank of a batch"),
    ("C̄, mean condition number", "fisher/cond_mean", "C̄"),
    ("L, summed energy", "fisher/energy_sum", "L"),
    ("Gradient", "gradient/norm", "norm of the gradient"),
)


def _measure(points: Points, title: str, name: str, text: str) -> Data:
    return _chart(title, [points.line(name, text, epochs=False)])


def _decisions(points: Points, epochs: Sequence[Row]) -> list[Data]:
    """Return the policy's decisions: the place of each along every axis, and its sentence."""
    said = [part for row in epochs for part in str(row.get("policy/decisions") or "").split(" | ")]
    found = [match for part in said if (match := DECISION.fullmatch(part))]
    if "step" not in points.x or not found:
        return []
    places = np.array(points.x["step"])
    return [
        {
            "at": {name: _place(int(match[1]), places, along) for name, along in points.x.items()},
            "text": match[2],
        }
        for match in found
    ]


def _place(step: int, steps: np.ndarray[Any, Any], along: Sequence[float]) -> float:
    return round(float(np.interp(step, steps, along)), 4)


def _spectrum(points: Points, one: Runs, run_id: str, count: int) -> Data | None:
    """Return counts of singular values by step and size; None where no spectra were kept."""
    try:
        spectra = one.spectra(run_id) if count else []
    except DamagedRunError:
        return None
    at = [k for k in points.steps if k >= 0 and spectra[k] is not None]
    at = (
        [at[k] for k in np.unique(np.linspace(0, len(at) - 1, min(COLUMNS, len(at))).astype(int))]
        if at
        else []
    )
    sigmas = [np.sqrt(np.clip(np.asarray(spectra[k]), 0.0, None)) for k in at]
    positive = np.concatenate([s[s > 0] for s in sigmas]) if sigmas else np.array([])
    positive = positive[np.isfinite(positive)]
    if len(positive) < 2 or positive.min() == positive.max():
        return None
    low, high = np.log10(positive.min()), np.log10(positive.max())
    edges = np.linspace(low, high, BINS + 1)
    places = {k: row for row, k in enumerate(points.steps) if k >= 0}
    shares = []
    for sigma in sigmas:
        kept = sigma[(sigma > 0) & np.isfinite(sigma)]
        counts = np.histogram(np.log10(kept), edges)[0] if len(kept) else np.zeros(BINS)
        shares.append([round(float(v), 3) for v in counts / max(len(sigma), 1)])
    return {
        "x": {name: [along[places[k]] for k in at] for name, along in points.x.items()},
        "edges": [round(float(10**edge), 12) for edge in edges],
        "shares": shares,
    }
