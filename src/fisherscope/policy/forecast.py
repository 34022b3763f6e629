"""Where a run would end in the plane under a schedule, and what that costs: sums over the parts to come."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from fisherscope.policy.beacons import Beacons, Place
from fisherscope.policy.rate import Rate

Curve = tuple[float, ...]
"""Logarithms, one for each size."""
NODES = ((-math.sqrt(3), 1 / 6), (0.0, 2 / 3), (math.sqrt(3), 1 / 6))
"""Gauss-Hermite quadrature of a normal distribution: exact for polynomials up to degree five."""


@dataclass(frozen=True)
class Growth:
    """Logarithms of the axis's measure and of the density, by part of the run and batch size.

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


def growth_at(beacons: Beacons, lr: float) -> Growth:
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
    return Growth(sizes, cond, density)


def _curves(beacons: Beacons, size: int, lr: float) -> tuple[Curve, Curve] | None:
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


@dataclass(frozen=True)
class Standing:
    """What a run has behind it at its last measurement, and how it differs from its beacons.

    Args:
        samples: Samples done.
        weight: Steps behind the mean.
        total: Sum of the measure (its logarithm, for a geometric mean) over these steps.
        energy: L so far.
        offsets: Logarithm by which this run's measure and density exceed the beacons'.
        deviations: How uncertain these are.
    """

    samples: float
    weight: float
    total: float
    energy: float
    offsets: tuple[float, float]
    deviations: tuple[float, float]


@dataclass(frozen=True)
class End:
    """Predicted end of a run: logarithms of the measure's mean and of L, their deviations, seconds left."""

    cond: float
    energy: float
    cond_std: float
    energy_std: float
    seconds: float


@dataclass(frozen=True)
class Road:
    """Sums a sample that a part of the run adds at each size: made once, then schedules are sums.

    `steps`, `total`, `energy`, `seconds` are indexed by part, then by size.
    """

    growth: Growth
    geometric: bool
    edges: tuple[float, ...]
    steps: tuple[Curve, ...]
    total: tuple[Curve, ...]
    energy: tuple[Curve, ...]
    seconds: tuple[Curve, ...]

    def end(self, standing: Standing, part: int, here: float, schedule: Sequence[int]) -> End:
        """Where a run ends that takes size number `schedule[i]` in the i-th part from `part` on.

        Args:
            standing: The run's; what lies between its last measurement and now is done at the first size.
            part: The part that begins, or goes on, now.
            here: Samples done now.
            schedule: A size's number for each part to come.
        """
        steps = total = energy = seconds = 0.0
        at = standing.samples
        for number, chosen in enumerate(schedule):
            edge = self.edges[part + number + 1]
            samples = max(edge - at, 0.0)
            k = part + number
            steps += samples * self.steps[k][chosen]
            total += samples * self.total[k][chosen]
            energy += samples * self.energy[k][chosen]
            seconds += max(edge - max(at, here), 0.0) * self.seconds[k][chosen]
            at = max(edge, at)
        return self._ended(standing, steps, total, energy, seconds)

    def _ended(self, done: Standing, steps: float, total: float, energy: float, seconds: float) -> End:
        whole = max(done.weight + steps, 1e-9)
        if self.geometric:
            cond, share = (done.total + total + steps * done.offsets[0]) / whole, steps / whole
        else:
            ahead = total * math.exp(done.offsets[0])
            cond, share = math.log((done.total + ahead) / whole), ahead / (done.total + ahead)
        coming = energy * math.exp(done.offsets[1])
        ended = done.energy + coming
        return End(
            cond, math.log(ended), share * done.deviations[0], coming / ended * done.deviations[1], seconds
        )


def road(beacons: Beacons, growth: Growth, rate: Rate) -> Road:
    """What each part of the run adds at each size of `growth`.

    An epoch is ⌊N/B⌋ steps of B and one of what is left, measured by the growth at its own size.
    """
    samples, parts = beacons.samples, len(growth.cond)
    cost = dict(zip(beacons.sizes, beacons.seconds, strict=True))
    rows: list[list[tuple[float, float, float, float]]] = []
    for part in range(parts):
        middle = Fraction(2 * part + 1, 2 * parts) * rate.epochs
        lr = rate.of_level(sum(middle >= edge for edge in rate.edges[1:-1]))
        rows.append([_a_sample(beacons, growth, part, size, lr, cost[size]) for size in growth.sizes])
    columns = [tuple(tuple(cell[k] for cell in row) for row in rows) for k in range(4)]
    edges = tuple(samples * rate.epochs * k / parts for k in range(parts + 1))
    return Road(growth, beacons.geometric, edges, *columns)


def _a_sample(
    beacons: Beacons, growth: Growth, part: int, size: int, lr: float, cost: float
) -> tuple[float, float, float, float]:
    """(steps, measure, L, seconds) that a sample of an epoch in batches of `size` brings."""
    samples = beacons.samples
    kinds = [(size, samples // size)] + ([(samples % size, 1)] if samples % size else [])
    steps = total = energy = 0.0
    for batch, count in kinds:
        cond, density = growth.at(part, batch)
        steps += count
        total += count * (cond if beacons.geometric else math.exp(cond))
        energy += count * math.exp(density) * lr / math.sqrt(batch)
    return steps / samples, total / samples, energy / samples, steps * cost / samples


@dataclass(frozen=True)
class Region:
    """The optimum region: what lies nearest to a setting inside it, no farther than such lie from others.

    Coordinates are the logarithms, scaled to the unit square of the settings; `apart` is a squared distance.
    """

    low: tuple[float, float]
    reach: tuple[float, float]
    places: tuple[tuple[float, float, bool], ...]
    apart: float

    def distance(self, cond: float, energy: float) -> float:
        """Scaled distance to the nearest setting inside."""
        return math.sqrt(min(d for d, inside in self._distances(cond, energy) if inside))

    def holds(self, cond: float, energy: float) -> bool:
        """Whether (log measure, log L) is inside."""
        nearest, inside = min(self._distances(cond, energy))
        return inside and nearest <= self.apart

    def chance(self, end: End) -> float:
        """Probability that a run with this predicted end lies inside."""
        return sum(
            p * q * self.holds(end.cond + x * end.cond_std, end.energy + y * end.energy_std)
            for x, p in NODES
            for y, q in NODES
        )

    def _distances(self, cond: float, energy: float) -> list[tuple[float, bool]]:
        u, v = (cond - self.low[0]) / self.reach[0], (energy - self.low[1]) / self.reach[1]
        return [((u - x) ** 2 + (v - y) ** 2, inside) for x, y, inside in self.places]


def region_of(places: Sequence[Place]) -> Region:
    """The region of the places where fixed settings ended."""
    logs = [(math.log(p.cond), math.log(p.energy)) for p in places]
    low = min(x for x, _ in logs), min(y for _, y in logs)
    high = max(x for x, _ in logs), max(y for _, y in logs)
    reach = (high[0] - low[0]) or 1.0, (high[1] - low[1]) or 1.0
    scaled = [((x - low[0]) / reach[0], (y - low[1]) / reach[1]) for x, y in logs]
    apart = max(
        min(((a - x) ** 2 + (b - y) ** 2 for m, (x, y) in enumerate(scaled) if m != n), default=1.0)
        for n, (a, b) in enumerate(scaled)
        if places[n].inside
    )
    marked = zip(scaled, places, strict=True)
    return Region(low, reach, tuple((x, y, p.inside) for (x, y), p in marked), apart)
