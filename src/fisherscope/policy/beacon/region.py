"""The optimum region of the (C̄, L) plane, and how likely a run is to end in it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fisherscope.policy.beacon.calibration import Place

FIFTHS = (-1.2816, -0.5244, 0.0, 0.5244, 1.2816)
"""Middles of five equally likely parts of a normal distribution, in standard deviations."""


@dataclass(frozen=True)
class Region:
    """What lies nearest to a setting inside, and no farther from it than such settings lie from others.

    Coordinates are the logarithms, scaled to the unit square of the settings; `apart` is a squared distance.
    """

    low: tuple[float, float]
    reach: tuple[float, float]
    inside: tuple[tuple[float, float], ...]
    outside: tuple[tuple[float, float], ...]
    apart: float

    def distance(self, cond: float, energy: float) -> float:
        """Scaled distance of (log measure, log L) to the nearest setting inside."""
        return math.sqrt(_nearest(self._scaled(cond, energy), self.inside))

    def holds(self, cond: float, energy: float) -> bool:
        """Whether (log measure, log L) is inside."""
        here = self._scaled(cond, energy)
        near = _nearest(here, self.inside)
        return near <= self.apart and near <= _nearest(here, self.outside)

    def chance(self, cond: float, energy: float, cond_std: float, energy_std: float) -> float:
        """Probability that a run lies inside which is expected there: by 25 equally likely ends."""
        held = sum(self.holds(cond + x * cond_std, energy + y * energy_std) for x in FIFTHS for y in FIFTHS)
        return held / len(FIFTHS) ** 2

    def _scaled(self, cond: float, energy: float) -> tuple[float, float]:
        return (cond - self.low[0]) / self.reach[0], (energy - self.low[1]) / self.reach[1]


def _nearest(here: tuple[float, float], places: Sequence[tuple[float, float]]) -> float:
    """Squared distance to the nearest of the places; infinite without any."""
    u, v = here
    return min(((u - x) ** 2 + (v - y) ** 2 for x, y in places), default=math.inf)


def region_of(places: Sequence[Place]) -> Region:
    """The region of the places where fixed settings ended."""
    logs = [(math.log(p.cond), math.log(p.energy)) for p in places]
    low = min(x for x, _ in logs), min(y for _, y in logs)
    high = max(x for x, _ in logs), max(y for _, y in logs)
    reach = (high[0] - low[0]) or 1.0, (high[1] - low[1]) or 1.0
    scaled = [((x - low[0]) / reach[0], (y - low[1]) / reach[1]) for x, y in logs]
    apart = max(
        _nearest(here, scaled[:n] + scaled[n + 1 :]) for n, here in enumerate(scaled) if places[n].inside
    )
    marked = list(zip(scaled, places, strict=True))
    return Region(
        low, reach,
        tuple(xy for xy, place in marked if place.inside),
        tuple(xy for xy, place in marked if not place.inside),
        apart if math.isfinite(apart) else 1.0,
    )  # fmt: skip
