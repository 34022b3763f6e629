"""What a run steered by beacons has shown so far: its sums, and how it differs from the beacons."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fisherscope.policy.beacon.calibration import Beacons
from fisherscope.policy.beacon.forecast import RunSoFar
from fisherscope.policy.beacon.growth import BeaconGrowth
from fisherscope.policy.decision import Observation, State

MEMORY = 0.95
"""Weight of earlier measurements in how this run differs from its beacons: the last twenty or so count."""
OPEN = 0.5
"""Share of a run's deviation from beacons that stays open however long the run has been seen."""


def nothing() -> State:
    """The part of a state that is kept here, before the first measurement."""
    return {"samples": 0, "weight": 0, "total": 0.0, "energy": 0.0, "sizes": 0.0, "seen": 0.0,
            "offsets": [0.0, 0.0], "tour": {}}  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """What is read of a measured step: the axis's measure, sqrt(Tr F̃/|B|), L so far, and where it was."""

    cond: float
    density: float
    energy: float
    size: int
    steps: float
    samples: int


def read(row: Mapping[str, object], beacons: Beacons) -> Seen | str:
    """The step of a monitor's row, or the key of the first number that is not positive and finite.

    Raises:
        ValueError: The row lacks a key altogether.
    """
    found: dict[str, float] = {}
    keys = (
        beacons.column,
        "fisher/energy",
        "fisher/energy_sum",
        "lr",
        "batch_size",
        "steps_since",
        "samples",
    )
    for key in keys:
        if key not in row:
            raise ValueError(
                f"reading a measurement: the row has no {key!r}; it has {', '.join(sorted(row)) or 'none'}; "
                "give the sampler the monitor's rows: sampler.step(row)"
            )
        value = row[key]
        if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            return key
        found[key] = value
    size, step = int(found["batch_size"]), found["fisher/energy"] / found["lr"]
    return Seen(
        found[beacons.column], step * math.sqrt(size), found["fisher/energy_sum"], size,
        found["steps_since"], int(found["samples"]),
    )  # fmt: skip


def added(state: State, seen: Seen, beacons: Beacons, epochs: int, growth: BeaconGrowth | None) -> State:
    """The state with one more measurement.

    Args:
        state: Of the policy.
        seen: The measurement.
        beacons: As the policy's.
        epochs: Of the run.
        growth: What was to be expected; None in the epochs of a tour, which are only collected.
    """
    log = math.log(seen.cond)
    new = {
        **state,
        "samples": seen.samples,
        "weight": state["weight"] + seen.steps,
        "total": state["total"] + seen.steps * (log if beacons.geometric else seen.cond),
        "energy": seen.energy,
        "sizes": state["sizes"] + max(seen.samples - state["samples"], 0) * math.log(seen.size),
    }
    if growth is None:
        return {**new, "tour": _toured(state["tour"], beacons.tour, seen)}
    middle = (seen.samples - seen.size / 2) / (beacons.samples * epochs)
    part = min(int(middle * beacons.parts), beacons.parts - 1)
    cond, density = growth.at(part, seen.size)
    # as each is averaged: L adds up the density itself, and so its mean is what is compared
    misses = log - cond if beacons.geometric else seen.cond / math.exp(cond), seen.density / math.exp(density)
    offsets = [MEMORY * total + miss for total, miss in zip(state["offsets"], misses, strict=True)]
    return {**new, "seen": MEMORY * state["seen"] + 1.0, "offsets": offsets}


def _toured(tour: dict[str, list[float]], sizes: tuple[int, ...], seen: Seen) -> dict[str, list[float]]:
    """Sums by size with one more measurement; of whole batches only."""
    if seen.size not in sizes:
        return tour
    sums = tour.get(str(seen.size), [0.0, 0.0, 0.0])
    return {
        **tour,
        str(seen.size): [sums[0] + 1, sums[1] + math.log(seen.cond), sums[2] + math.log(seen.density)],
    }


def in_tour(observation: Observation, seen: Seen, beacons: Beacons) -> bool:
    """Whether the measured step was one of a tour's epochs."""
    return seen.samples <= len(beacons.tour) * observation.epoch_samples


def standing(state: State, beacons: Beacons) -> RunSoFar:
    """The run's sums, and its offsets shrunk towards the beacons (normal prior).

    How far depends on how much runs differ from their beacons and measurements from their run.
    """
    offsets, deviations = [], []
    spreads = (beacons.cond_spread, beacons.energy_spread)
    for k, (total, spread) in enumerate(zip(state["offsets"], spreads, strict=True)):
        mean = total / state["seen"] if state["seen"] else 0.0
        if state["seen"] and not (k == 0 and beacons.geometric):
            mean = math.log(mean)
        between, within = spread.run**2, spread.step**2
        information = within + state["seen"] * between
        offsets.append(state["seen"] * between * mean / information)
        deviations.append(math.sqrt(between * within / information + OPEN**2 * between))
    return RunSoFar(
        state["samples"], state["weight"], state["total"], state["energy"], state["sizes"],
        (offsets[0], offsets[1]), (deviations[0], deviations[1]),
    )  # fmt: skip
