"""Growth of the measure and of L by part of a run and batch size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fisherscope.policy.beacon.calibration import Beacons

Curve = tuple[float, ...]
"""Logarithms, one for each batch size."""


@dataclass(frozen=True)
class BeaconGrowth:
    """Interpolate the logarithms of measure and density between batch sizes.

    The measure is the axis's, the density sqrt(Tr F̃/|B|). Both are given by part of the run and batch size.
    Between sizes: on the line through the neighbours' logarithms against log size; outside, on the line of
    the last two.
    """

    sizes: tuple[int, ...]
    cond: tuple[Curve, ...]
    density: tuple[Curve, ...]

    def at(self, part: int, size: float) -> tuple[float, float]:
        """Return (log measure, log density) of a step of `size` samples in `part`."""
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

    def at_sizes(self, sizes: Sequence[int]) -> BeaconGrowth:
        """Return the growth at these sizes of its own alone."""
        places = [self.sizes.index(size) for size in sizes]
        cond, density = (
            tuple(tuple(row[k] for k in places) for row in rows) for rows in (self.cond, self.density)
        )
        return BeaconGrowth(tuple(sizes), cond, density)

    def slopes(self) -> tuple[float, float]:
        """Return how much both change with log size: mean absolute slopes."""
        steps = [math.log(b / a) for a, b in zip(self.sizes, self.sizes[1:], strict=False)]
        cond, density = (_mean_slope(rows, steps) for rows in (self.cond, self.density))
        return cond, density


def _mean_slope(rows: Sequence[Curve], steps: Sequence[float]) -> float:
    slopes = [abs(b - a) / step for row in rows for a, b, step in zip(row, row[1:], steps, strict=False)]
    return sum(slopes) / len(slopes)


def growth_at(beacons: Beacons, lr: float) -> BeaconGrowth:
    """Interpolate the growth at a learning rate, between the logarithms of its neighbours.

    Returns:
        The growth at those sizes that have beacons on both sides of the learning rate.

    Raises:
        ValueError: Fewer than two sizes have beacons on both sides of the learning rate.
    """
    curves = {size: pair for size in beacons.sizes if (pair := _curves(beacons, size, lr)) is not None}
    if len(curves) < 2:
        rates = sorted({b.lr for b in beacons.beacons})
        raise ValueError(
            f"steering at lr={lr:g}: only {len(curves)} batch sizes have beacons at that learning rate or on "
            f"both sides of it (rates {', '.join(f'{rate:g}' for rate in rates)}); expected at least 2; "
            "choose another rate or train more beacons"
        )
    sizes = tuple(curves)
    cond, density = (tuple(zip(*(curves[size][k] for size in sizes), strict=True)) for k in (0, 1))
    return BeaconGrowth(sizes, cond, density)


def _curves(beacons: Beacons, size: int, lr: float) -> tuple[Curve, Curve] | None:
    """Return the logarithms of both by part; None without a beacon on each side of the learning rate."""
    by_rate = sorted((b for b in beacons.beacons if b.batch_size == size), key=lambda b: b.lr)
    below = [b for b in by_rate if b.lr <= lr * 1.0001]
    above = [b for b in by_rate if b.lr >= lr * 0.9999]
    if not below or not above:
        return None
    low, high = below[-1], above[0]
    share = 0.0 if low.lr >= high.lr else math.log(lr / low.lr) / math.log(high.lr / low.lr)

    def between(a: Curve, b: Curve) -> Curve:
        return tuple((1 - share) * math.log(x) + share * math.log(y) for x, y in zip(a, b, strict=True))

    return between(low.cond, high.cond), between(low.density, high.density)


def growth_of_tour(beacons: Beacons, tour: Mapping[str, Sequence[float]]) -> BeaconGrowth:
    """Return the growth that a run measured in its first epochs, assumed to stay the same.

    Args:
        beacons: Beacons with the sizes that may be used.
        tour: Number of measurements and sums of both logarithms, by size.

    Raises:
        ValueError: Fewer than two sizes were measured.
    """
    sums_of = {int(size): sums for size, sums in tour.items()}
    if len(sums_of) < 2:
        raise ValueError(
            f"steering by the run's own first epochs: {len(sums_of)} of the sizes {beacons.tour} were "
            "measured in them, expected at least 2; measure more often (per_epoch=…) or give beacons"
        )
    sizes = tuple(sorted(sums_of))
    cond, density = (tuple(sums_of[s][k] / sums_of[s][0] for s in sizes) for k in (1, 2))
    growth = BeaconGrowth(sizes, (cond,), (density,))
    columns = [growth.at(0, size) for size in beacons.sizes]
    rows = [(tuple(column[k] for column in columns),) * beacons.parts for k in (0, 1)]
    return BeaconGrowth(beacons.sizes, rows[0], rows[1])
