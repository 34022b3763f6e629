"""Forecast where a run ends in the plane under a schedule, and at what cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from fisherscope.policy.beacon.calibration import Beacons
from fisherscope.policy.beacon.growth import BeaconGrowth, Curve
from fisherscope.policy.lr_schedule import Rate


@dataclass(frozen=True)
class RunSoFar:
    """Hold a run's sums at its last measurement, and how it differs from its beacons.

    Args:
        samples: Completed samples.
        weight: Steps in the mean.
        total: Sum of the measure (its logarithm, for a geometric mean) over these steps.
        energy: L so far.
        sizes: Sum over the samples of the log size of their batch.
        offsets: Logarithm by which this run's measure and density exceed the beacons'.
        deviations: Standard deviations of the offsets.
    """

    samples: float
    weight: float
    total: float
    energy: float
    sizes: float
    offsets: tuple[float, float]
    deviations: tuple[float, float]


@dataclass(frozen=True)
class End:
    """Predict a run's end: log of the measure's mean and of L, deviations, seconds to go."""

    cond: float
    energy: float
    cond_std: float
    energy_std: float
    seconds: float


@dataclass(frozen=True)
class Forecaster:
    """Forecast the end of a run under any schedule.

    A forecast adds up what a sample adds in each part of the run at each size.

    `steps`, `total`, `energy` and `seconds` per sample are indexed by part, then by size; they are computed
    once, and a forecast is a sum over parts.
    """

    growth: BeaconGrowth
    geometric: bool
    slopes: tuple[float, float]
    edges: tuple[float, ...]
    steps: tuple[Curve, ...]
    total: tuple[Curve, ...]
    energy: tuple[Curve, ...]
    seconds: tuple[Curve, ...]

    def end(self, so_far: RunSoFar, part: int, now: float, schedule: Sequence[int]) -> End:
        """Return where a run ends that uses size `schedule[i]` in the i-th part from `part` on.

        Beacons had the same size all along. A run that changes its size has another history, whose effect no
        beacon shows. The difference of the beacons' growth between the size of a step and the mean size (of
        samples, in logarithms) up to there counts as one standard deviation.

        Args:
            so_far: The run so far; samples between its last measurement and now count at the first size.
            part: The part that begins or continues now.
            now: Completed samples.
            schedule: Index of a size for each remaining part.
        """
        steps = total = energy = seconds = cond_doubt = energy_doubt = 0.0
        at, sizes = so_far.samples, so_far.sizes
        for k, index in enumerate(schedule, start=part):
            edge, size = self.edges[k + 1], math.log(self.growth.sizes[index])
            samples = max(edge - at, 0.0)
            cond = samples * (self.steps if self.geometric else self.total)[k][index]
            change = abs(size - sizes / at) if at else 0.0
            steps += samples * self.steps[k][index]
            total += samples * self.total[k][index]
            energy += samples * self.energy[k][index]
            seconds += max(edge - max(at, now), 0.0) * self.seconds[k][index]
            cond_doubt += cond * change
            energy_doubt += samples * self.energy[k][index] * change
            at, sizes = at + samples, sizes + samples * size
        doubts = self.slopes[0] * cond_doubt, self.slopes[1] * energy_doubt
        return self._end(so_far, steps, total, energy, seconds, doubts)

    def _end(
        self, so_far: RunSoFar, steps: float, total: float, energy: float, seconds: float,
        doubts: tuple[float, float],
    ) -> End:  # fmt: skip
        """Combine the remaining sums with the run so far; `doubts` are weighted as C̄ and L are."""
        whole = max(so_far.weight + steps, 1e-9)
        if self.geometric:
            ahead, overall = steps, whole
            cond = (so_far.total + total + steps * so_far.offsets[0]) / whole
        else:
            scale = math.exp(so_far.offsets[0])
            ahead, overall = total * scale, so_far.total + total * scale
            cond, doubts = math.log(overall / whole), (doubts[0] * scale, doubts[1])
        coming = energy * math.exp(so_far.offsets[1])
        final = so_far.energy + coming
        shares = doubts[0] / overall, doubts[1] * math.exp(so_far.offsets[1]) / final
        return End(
            cond, math.log(final),
            math.hypot(ahead / overall * so_far.deviations[0], shares[0]),
            math.hypot(coming / final * so_far.deviations[1], shares[1]),
            seconds,
        )  # fmt: skip


def build_forecaster(beacons: Beacons, growth: BeaconGrowth, rate: Rate) -> Forecaster:
    """Build the forecaster for the sizes of `growth`.

    An epoch is ⌊N/B⌋ steps of B samples and one of the remainder, whose growth is that at its own size.

    Returns:
        What a sample adds, by part of the run and size.
    """
    samples, parts = beacons.samples, len(growth.cond)
    cost = dict(zip(beacons.sizes, beacons.seconds, strict=True))
    rows: list[list[tuple[float, float, float, float]]] = []
    for part in range(parts):
        middle = Fraction(2 * part + 1, 2 * parts) * rate.epochs
        lr = rate.of_level(sum(middle >= edge for edge in rate.edges[1:-1]))
        rows.append([_per_sample(beacons, growth, part, size, lr, cost[size]) for size in growth.sizes])
    columns = [tuple(tuple(cell[k] for cell in row) for row in rows) for k in range(4)]
    edges = tuple(samples * rate.epochs * k / parts for k in range(parts + 1))
    return Forecaster(growth, beacons.geometric, growth.slopes(), edges, *columns)


def _per_sample(
    beacons: Beacons, growth: BeaconGrowth, part: int, size: int, lr: float, cost: float
) -> tuple[float, float, float, float]:
    """Return (steps, measure, L, seconds) per sample of an epoch in batches of `size`."""
    samples = beacons.samples
    kinds = [(size, samples // size)] + ([(samples % size, 1)] if samples % size else [])
    steps = total = energy = 0.0
    for batch, count in kinds:
        cond, density = growth.at(part, batch)
        steps += count
        total += count * (cond if beacons.geometric else math.exp(cond))
        energy += count * math.exp(density) * lr / math.sqrt(batch)
    return steps / samples, total / samples, energy / samples, steps * cost / samples
