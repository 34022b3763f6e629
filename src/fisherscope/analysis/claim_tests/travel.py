"""Claim 7, second half: the angle between a schedule's travel and the beacons' curves."""

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import polars as pl

from fisherscope.analysis.claim_tests.verdicts import Evidence
from fisherscope.analysis.data.run_measures import COND, ENERGY
from fisherscope.analysis.data.seed_means import comparable, positions
from fisherscope.analysis.data.settings import FloatArray, Settings
from fisherscope.analysis.stats.hypothesis_tests import permutation_p
from fisherscope.analysis.stats.resampling import PERMUTATIONS, generator

STOPS = (0.05, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Shares of the epochs at which travel is drawn (Liao et al. 2020, figure 5)."""
ACROSS = 60.0
"""Degrees from which travel counts as across the curves: nearer to perpendicular than to 30 degrees."""
FEWEST_SEGMENTS = 3
ANGLE = "angle between travel and the beacons' curves, degrees"


def travel_angle(source: Settings, lr: float, cond: str = COND, energy: str = ENERGY) -> Evidence | None:
    """Test that schedules travel across the beacons' curves in the plane of log C̄ and log L.

    A beacon's curve is the path of a fixed size over the epochs. A segment of a schedule's travel lies
    between two stops; its angle is that to the nearest beacon's curve over the same epochs, both on axes
    scaled to the beacons' ends. Segments before the first change of size run along a beacon by construction
    and are left out. The null exchanges segments among all places: schedules that travel in any order.

    Args:
        source: Finished runs.
        lr: Initial learning rate of schedules and beacons.
        cond: The measure across.
        energy: The measure upwards.

    Returns:
        The mean angle in degrees with its p-value; None with fewer than two beacons or three segments.
    """
    mine = comparable(source.where((pl.col("lr") - lr).abs() <= 1e-9 * lr))
    if not len(mine.frame):
        return None
    paths = {name: path for name, path in _paths(mine, cond, energy).items() if len(path)}
    fixed = {str(s) for s in mine.frame.filter(pl.col("fixed"))["setting"].to_list()}
    beacons = {name: path for name, path in paths.items() if name in fixed and "+" not in name}
    schedules = {name: path for name, path in paths.items() if name not in fixed and "-to-" in name}
    last = max((int(path[-1, 0]) for path in paths.values()), default=0)
    beacons = {name: path for name, path in beacons.items() if int(path[-1, 0]) == last}
    if len(beacons) < 2 or last < len(STOPS):
        return None
    ends = np.array([path[-1, 1:] for path in beacons.values()])
    reach = np.ptp(ends, axis=0)
    if not (reach > 0).all():
        return None
    changes = _first_changes(mine)
    segments = [
        pair
        for name, path in schedules.items()
        for pair in _segments(path, changes.get(name, last), beacons, last, reach)
    ]
    if len(segments) < FEWEST_SEGMENTS:
        return None
    travel, along = (np.array(part) for part in zip(*segments, strict=True))
    observed = _mean_angle(travel, along)
    numbers = generator()
    chance = [_mean_angle(travel[numbers.permutation(len(travel))], along) for _ in range(PERMUTATIONS)]
    draws = [
        _mean_angle(travel[k], along[k]) for k in numbers.integers(len(travel), size=(1000, len(travel)))
    ]
    low, high = np.percentile(draws, [2.5, 97.5])
    return Evidence(
        ANGLE, observed, float(low), float(high), len(travel),
        permutation_p(observed, chance), permutation_p(-observed, -np.asarray(chance)), minimum=ACROSS,
    )  # fmt: skip


def _paths(source: Settings, cond: str, energy: str) -> dict[str, FloatArray]:
    """Return (epoch, log x, log y) of each setting, means over seeds, shape (epochs, 3)."""
    rows = positions(source, cond, energy).sort("setting", "epoch")
    logs = rows.with_columns(pl.col("epoch").cast(pl.Float64), pl.col("x").log(), pl.col("y").log())
    parts = logs.group_by("setting", maintain_order=True)
    return {str(name): part.select("epoch", "x", "y").to_numpy() for (name,), part in parts}


def _first_changes(source: Settings) -> dict[str, int]:
    """Return the epochs that each schedule ended before its batch size first changed."""
    if "batch_size" not in source.epochs.columns:
        return {}
    rows = source.epochs.join(source.frame.select("run_id", "setting"), on="run_id").drop_nulls("batch_size")
    changed = pl.col("batch_size") != pl.col("batch_size").first()
    first = (
        rows.sort("epoch")
        .group_by("setting", maintain_order=True)
        .agg((pl.col("epoch").filter(changed).min() - 1).alias("change"))
    )
    return {str(name): int(epoch) for name, epoch in first.drop_nulls("change").iter_rows()}


def _segments(
    path: FloatArray, change: int, beacons: dict[str, FloatArray], last: int, reach: FloatArray
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Yield scaled steps of a schedule's travel, each with the nearest beacon's over the same epochs."""
    stops = sorted({max(1, round(share * last)) for share in STOPS})
    for begin, end in pairwise(stops):
        first, second = _at(path, begin), _at(path, end)
        if begin < change or first is None or second is None:
            continue
        middle = (first + second) / 2
        curves = [(_at(curve, begin), _at(curve, end)) for curve in beacons.values()]
        known = [(a, b) for a, b in curves if a is not None and b is not None]
        if not known:
            continue
        near = min(known, key=lambda pair: float(np.sum((((pair[0] + pair[1]) / 2 - middle) / reach) ** 2)))
        travel, along = (second - first) / reach, (near[1] - near[0]) / reach
        if np.linalg.norm(travel) > 0 and np.linalg.norm(along) > 0:
            yield travel / np.linalg.norm(travel), along / np.linalg.norm(along)


def _at(path: FloatArray, epoch: int) -> FloatArray | None:
    rows = path[path[:, 0] == epoch]
    return rows[0, 1:] if len(rows) and np.isfinite(rows[0]).all() else None


def _mean_angle(travel: FloatArray, along: FloatArray) -> float:
    """Return the mean angle between lines, 0 to 90 degrees."""
    cosine = np.clip(np.abs(np.sum(travel * along, axis=1)), 0.0, 1.0)
    return float(np.mean(np.arccos(cosine)) * 180 / math.pi)
