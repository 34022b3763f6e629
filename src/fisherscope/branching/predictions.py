"""What the noise scales at the branching point predict: averaged over a window of its next steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fisherscope.measures import NoiseWindow
from fisherscope.runs.jsonl import read_rows
from fisherscope.runs.paths import STEPS

METRICS = {"Euclidean": "", "optimizer": "_optimizer"}
"""Metrics, and what follows the keys of a row."""


@dataclass(frozen=True)
class Prediction:
    """Hold a noise scale at the branching point, which the branches' critical batch size can be held against.

    Args:
        metric: "Euclidean" or "optimizer".
        scale: Σ tr Σ̂ / Σ |G|² over the window, samples; NaN where it was not measured or no signal was seen.
        low: Lower end of its interval, by Fieller.
        high: Upper end.
        measurements: Measured steps in the window.
        why: Why there is no scale; empty where there is one.
    """

    metric: str
    scale: float
    low: float
    high: float
    measurements: int
    why: str = ""


def read_predictions(path: Path) -> tuple[Prediction, ...]:
    """Read the noise scales of the run that measured them.

    Args:
        path: Its directory.

    Returns:
        One prediction for each metric.

    Raises:
        DamagedRunError: A row is damaged.
    """
    rows = read_rows(path / STEPS)
    return tuple(_prediction(metric, suffix, rows) for metric, suffix in METRICS.items())


def _prediction(metric: str, suffix: str, rows: Sequence[Mapping[str, Any]]) -> Prediction:
    pairs = [(row.get(f"noise/variance{suffix}"), row.get(f"noise/signal{suffix}")) for row in rows]
    window = NoiseWindow(length=max(len(rows), 1))
    for variance, signal in pairs:
        if variance is not None and signal is not None:
            window.add(variance, signal)
    count = len(window.variances)
    if not count:
        reasons = [str(row.get("noise/metric" if suffix else "status")) for row in rows]
        return Prediction(metric, math.nan, 0.0, math.inf, 0, f"not measured: {(reasons or ['no step'])[-1]}")
    why = "" if math.isfinite(window.scale) else "the mean gradient can't be told from zero"
    return Prediction(metric, window.scale, *window.interval(), count, why)
