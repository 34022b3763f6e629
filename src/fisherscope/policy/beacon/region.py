"""The optimum region of the (C̄, L) plane, and how likely a run is to end in it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fisherscope.policy.beacon.calibration import Place

QUINTILE_MIDDLES = (-1.2816, -0.5244, 0.0, 0.5244, 1.2816)
"""Middles of five equally likely parts of a normal distribution, in standard deviations."""


@dataclass(frozen=True)
class Region:
    """Hold the optimum region: points nearest to a setting inside.

    A point of it is no farther from that setting than such settings are from others.

    Coordinates are logarithms, scaled to the unit square of the settings; `radius_squared` is a squared
    distance.
    """

    low: tuple[float, float]
    span: tuple[float, float]
    inside: tuple[tuple[float, float], ...]
    outside: tuple[tuple[float, float], ...]
    radius_squared: float

    def distance(self, cond: float, energy: float) -> float:
        """Return the scaled distance of (log measure, log L) to the nearest setting inside."""
        return math.sqrt(_nearest(self._scale(cond, energy), self.inside))

    def contains(self, cond: float, energy: float) -> bool:
        """Return whether (log measure, log L) is inside."""
        point = self._scale(cond, energy)
        near = _nearest(point, self.inside)
        return near <= self.radius_squared and near <= _nearest(point, self.outside)

    def chance(self, cond: float, energy: float, cond_std: float, energy_std: float) -> float:
        """Return the probability that a run expected there ends inside: by 25 equally likely ends."""
        count = sum(
            self.contains(cond + x * cond_std, energy + y * energy_std)
            for x in QUINTILE_MIDDLES
            for y in QUINTILE_MIDDLES
        )
        return count / len(QUINTILE_MIDDLES) ** 2

    def _scale(self, cond: float, energy: float) -> tuple[float, float]:
        return (cond - self.low[0]) / self.span[0], (energy - self.low[1]) / self.span[1]


def _nearest(point: tuple[float, float], others: Sequence[tuple[float, float]]) -> float:
    """Return the squared distance to the nearest other point; infinite without any."""
    u, v = point
    return min(((u - x) ** 2 + (v - y) ** 2 for x, y in others), default=math.inf)


def region_of(places: Sequence[Place]) -> Region:
    """Return the region of the final positions of fixed settings."""
    logs = [(math.log(p.cond), math.log(p.energy)) for p in places]
    low = min(x for x, _ in logs), min(y for _, y in logs)
    high = max(x for x, _ in logs), max(y for _, y in logs)
    span = (high[0] - low[0]) or 1.0, (high[1] - low[1]) or 1.0
    scaled = [((x - low[0]) / span[0], (y - low[1]) / span[1]) for x, y in logs]
    radius_squared = max(
        _nearest(point, scaled[:n] + scaled[n + 1 :]) for n, point in enumerate(scaled) if places[n].inside
    )
    pairs = list(zip(scaled, places, strict=True))
    return Region(
        low, span,
        tuple(point for point, place in pairs if place.inside),
        tuple(point for point, place in pairs if not place.inside),
        radius_squared if math.isfinite(radius_squared) else 1.0,
    )  # fmt: skip
