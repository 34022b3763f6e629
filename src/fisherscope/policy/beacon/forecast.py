"""Where a run would end in the plane under a schedule, and what that costs: sums over the parts to come."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from fisherscope.policy.beacon.calibration import Beacons
from fisherscope.policy.beacon.growth import BeaconGrowth, Curve
from fisherscope.policy.lr_schedule import Rate


@dataclass(frozen=True)
class RunSoFar:
    """What a run has behind it at its last measurement, and how it differs from its beacons.

    Args:
        samples: Samples done.
        weight: Steps behind the mean.
        total: Sum of the measure (its logarithm, for a geometric mean) over these steps.
        energy: L so far.
        sizes: Sum over the samples of their batch's log size.
        offsets: Logarithm by which this run's measure and density exceed the beacons'.
        deviations: How uncertain these are.
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
    """Predicted end of a run: logarithms of the measure's mean and of L, their deviations, seconds left."""

    cond: float
    energy: float
    cond_std: float
    energy_std: float
    seconds: float


@dataclass(frozen=True)
class Forecaster:
    """What a sample adds in each part of the run at each size: made once, then schedules are sums.

    `steps`, `total`, `energy`, `seconds` are indexed by part, then by size.
    """

    growth: BeaconGrowth
    geometric: bool
    slopes: tuple[float, float]
    edges: tuple[float, ...]
    steps: tuple[Curve, ...]
    total: tuple[Curve, ...]
    energy: tuple[Curve, ...]
    seconds: tuple[Curve, ...]

    def end(self, standing: RunSoFar, part: int, here: float, schedule: Sequence[int]) -> End:
        """Where a run ends that takes size number `schedule[i]` in the i-th part from `part` on.

        Beacons have had their size all along. A run that changes its own has another history, and no beacon
        says what that does: as one standard deviation counts what the beacons' growth differs by between the
        size of a step and the mean size (of samples, in logarithms) up to there.

        Args:
            standing: The run's; what lies between its last measurement and now is done at the first size.
            part: The part that begins, or goes on, now.
            here: Samples done now.
            schedule: A size's number for each part to come.
        """
        steps = total = energy = seconds = strange_cond = strange_energy = 0.0
        at, sizes = standing.samples, standing.sizes
        for k, chosen in enumerate(schedule, start=part):
            edge, size = self.edges[k + 1], math.log(self.growth.sizes[chosen])
            samples = max(edge - at, 0.0)
            cond = samples * (self.steps if self.geometric else self.total)[k][chosen]
            away = abs(size - sizes / at) if at else 0.0
            steps += samples * self.steps[k][chosen]
            total += samples * self.total[k][chosen]
            energy += samples * self.energy[k][chosen]
            seconds += max(edge - max(at, here), 0.0) * self.seconds[k][chosen]
            strange_cond += cond * away
            strange_energy += samples * self.energy[k][chosen] * away
            at, sizes = at + samples, sizes + samples * size
        strange = self.slopes[0] * strange_cond, self.slopes[1] * strange_energy
        return self._ended(standing, steps, total, energy, seconds, strange)

    def _ended(
        self, done: RunSoFar, steps: float, total: float, energy: float, seconds: float,
        strange: tuple[float, float],
    ) -> End:  # fmt: skip
        """From the sums to come and the run so far; `strange` is weighted as C̄ and L are."""
        whole = max(done.weight + steps, 1e-9)
        if self.geometric:
            ahead, all_of_it = steps, whole
            cond = (done.total + total + steps * done.offsets[0]) / whole
        else:
            scale = math.exp(done.offsets[0])
            ahead, all_of_it = total * scale, done.total + total * scale
            cond, strange = math.log(all_of_it / whole), (strange[0] * scale, strange[1])
        coming = energy * math.exp(done.offsets[1])
        ended = done.energy + coming
        away = strange[0] / all_of_it, strange[1] * math.exp(done.offsets[1]) / ended
        return End(
            cond, math.log(ended),
            math.hypot(ahead / all_of_it * done.deviations[0], away[0]),
            math.hypot(coming / ended * done.deviations[1], away[1]),
            seconds,
        )  # fmt: skip


def road(beacons: Beacons, growth: BeaconGrowth, rate: Rate) -> Forecaster:
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
    return Forecaster(growth, beacons.geometric, growth.slopes(), edges, *columns)


def _a_sample(
    beacons: Beacons, growth: BeaconGrowth, part: int, size: int, lr: float, cost: float
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
