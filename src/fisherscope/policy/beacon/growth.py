"""Growth of the measure and of L by part of a run and batch size: of beacons, or of a run's first epochs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fisherscope.policy.beacon.calibration import Beacons

Curve = tuple[float, ...]
"""Logarithms, one for each size."""


@dataclass(frozen=True)
class BeaconGrowth:
    """Logarithms of the axis's measure and of the density sqrt(Tr F̃/|B|), by part of the run and batch size.

    Between sizes: on the line through the neighbours' logarithms against log size; outside, the end's line.
    """

    sizes: tuple[int, ...]
    cond: tuple[Curve, ...]
    density: tuple[Curve, ...]

    def at(self, part: int, size: float) -> tuple[float, float]:
        """(log measure, log density) of a step of `size` samples in `part`."""
        low = 0
        while low < len(self.sizes) - 2 and size > self.sizes[low + 1]:
            low += 1
        a, b = math.log(self.sizes[low]), math.log(self.sizes[low + 1])
        share = (math.log(size) - a) / (b - a)
        cond, density = self.cond[part], self.density[part]
        return (
            cond[low] + share * (cond[low + 1] - cond[low]),
            density[low] + share * (density[low + 1] - density[low]),
        )

    def slopes(self) -> tuple[float, float]:
        """How much the two change with log size: mean size of the slope over parts and neighbours."""
        steps = [math.log(b / a) for a, b in zip(self.sizes, self.sizes[1:], strict=False)]
        cond, density = (_slope(rows, steps) for rows in (self.cond, self.density))
        return cond, density


def _slope(rows: Sequence[Curve], steps: Sequence[float]) -> float:
    found = [abs(b - a) / step for row in rows for a, b, step in zip(row, row[1:], steps, strict=False)]
    return sum(found) / len(found)


def growth_at(beacons: Beacons, lr: float) -> BeaconGrowth:
    """The growth at a learning rate: on the line through the neighbouring rates' logarithms, for each size.

    Raises:
        ValueError: Fewer than two sizes have beacons on both sides of the rate.
    """
    curves = {size: found for size in beacons.sizes if (found := _curves(beacons, size, lr)) is not None}
    if len(curves) < 2:
        rates = sorted({b.lr for b in beacons.beacons})
        raise ValueError(
            f"steering at lr={lr:g}: only {len(curves)} batch sizes have beacons at that rate or on both "
            f"sides of it (rates {', '.join(f'{rate:g}' for rate in rates)}); expected at least 2; choose "
            "another rate or train more beacons"
        )
    sizes = tuple(curves)
    cond, density = (tuple(zip(*(curves[size][k] for size in sizes), strict=True)) for k in (0, 1))
    return BeaconGrowth(sizes, cond, density)


def _curves(beacons: Beacons, size: int, lr: float) -> tuple[Curve, Curve] | None:
    """Logarithms of the two by part; None without a beacon on each side of the rate."""
    mine = sorted((b for b in beacons.beacons if b.batch_size == size), key=lambda b: b.lr)
    below = [b for b in mine if b.lr <= lr * 1.0001]
    above = [b for b in mine if b.lr >= lr * 0.9999]
    if not below or not above:
        return None
    low, high = below[-1], above[0]
    share = 0.0 if low.lr >= high.lr else math.log(lr / low.lr) / math.log(high.lr / low.lr)

    def between(a: Curve, b: Curve) -> Curve:
        return tuple((1 - share) * math.log(x) + share * math.log(y) for x, y in zip(a, b, strict=True))

    return between(low.cond, high.cond), between(low.density, high.density)


def growth_of_tour(beacons: Beacons, tour: Mapping[str, Sequence[float]]) -> BeaconGrowth:
    """What a run saw at the sizes of its first epochs, taken to stay as it was there.

    Args:
        beacons: With the sizes that may be used.
        tour: By size: measurements, and sums of both logarithms.

    Raises:
        ValueError: Fewer than two sizes were measured.
    """
    known = {int(size): sums for size, sums in tour.items()}
    if len(known) < 2:
        raise ValueError(
            f"steering by the run's own first epochs: {len(known)} of the sizes {beacons.tour} were "
            "measured in them, expected at least 2; measure more often (per_epoch=…) or give beacons"
        )
    sizes = tuple(sorted(known))
    cond, density = (tuple(known[s][k] / known[s][0] for s in sizes) for k in (1, 2))
    seen = BeaconGrowth(sizes, (cond,), (density,))
    columns = [seen.at(0, size) for size in beacons.sizes]
    rows = [(tuple(column[k] for column in columns),) * beacons.parts for k in (0, 1)]
    return BeaconGrowth(beacons.sizes, rows[0], rows[1])
