"""Exploratory: does what was best on one sweep serve on another, by its setting or by its (C̄, L)?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import polars as pl

import fisherscope as fs
from fisherscope.runs.reader import Runs

CARRIED = {"setting": ("batch_size", "lr"), "position": ("x", "y")}
"""What is carried over, and the columns in which the nearest setting is looked for (as logarithms)."""


@dataclass(frozen=True)
class Map:
    """A sweep's settings that have a final metric, best first, and what counts as as good as the best."""

    points: pl.DataFrame
    margin: float

    @classmethod
    def of(cls, runs: Runs) -> Map:
        """Of finished runs of fixed batch sizes."""
        points = fs.landscape(runs).points.filter(pl.col("metric").is_finite()).sort("metric")
        return cls(points, max(0.002, 0.1 * points["metric"][0]))

    def regrets(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Of every setting, best first: what choosing it costs in the metric."""
        return self.points["metric"].to_numpy() - self.points["metric"][0]

    def nearest(self, other: Map, columns: tuple[str, ...]) -> int:
        """Place, in this map, of the setting nearest to the best of the other."""
        mine = np.log(self.points.select(columns).to_numpy())
        theirs = np.log(other.points.select(columns).row(0))
        usable = np.isfinite(mine).all(axis=1)
        far = np.where(usable, np.hypot(*(mine - theirs).T), np.inf)
        return int(far.argmin())


def transfers(sweeps: dict[str, Runs]) -> Iterator[dict[str, Any]]:
    """Yield a row a pair of sweeps: regret, in the metric's unit, of the setting nearest the other's best.

    `position` is given every setting's final (C̄, L) on the target, which nobody has who has yet to choose: an
    upper bound of what carrying a position could do. `random` is the mean over all settings.
    """
    maps = {name: Map.of(runs) for name, runs in sweeps.items()}
    for source, target in permutations(maps, 2):
        regrets = maps[target].regrets()
        row: dict[str, Any] = {"source": source, "target": target, "margin": maps[target].margin}
        for name, columns in CARRIED.items():
            place = maps[target].nearest(maps[source], columns)
            row |= {f"{name}_chosen": maps[target].points["setting"][place], name: float(regrets[place])}
        within = float((regrets <= maps[target].margin).mean())
        yield row | {"random": float(regrets.mean()), "random_within": within}
