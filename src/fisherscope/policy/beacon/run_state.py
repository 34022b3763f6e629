"""The state of a steered run: its sums so far, and how it differs from the beacons."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fisherscope.policy.beacon.calibration import Beacons
from fisherscope.policy.beacon.forecast import RunSoFar
from fisherscope.policy.beacon.growth import BeaconGrowth
from fisherscope.policy.decision import Observation, State

MEMORY = 0.95
"""Weight of earlier measurements in how this run differs from its beacons: about the last twenty count."""
LASTING_DOUBT = 0.5
"""Share of the spread between runs and beacons that stays uncertain however much of the run is measured."""


def initial_state() -> State:
    """Return this module's part of the policy's state before the first measurement."""
    return {"samples": 0, "weight": 0, "total": 0.0, "energy": 0.0, "sizes": 0.0, "seen": 0.0,
            "offsets": [0.0, 0.0], "tour": {}}  # fmt: skip


@dataclass(frozen=True)
class MeasuredStep:
    """Hold what is read of a measured step: measure, sqrt(Tr F̃/|B|), L so far, position."""

    cond: float
    density: float
    energy: float
    size: int
    steps: float
    samples: int


def read_step(row: Mapping[str, object], beacons: Beacons) -> MeasuredStep | str:
    """Read a monitor's row, or return the first key whose number is not positive and finite.

    Returns:
        The step, or a key.

    Raises:
        ValueError: The row lacks a key altogether.
    """
    numbers: dict[str, float] = {}
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
                "pass the monitor's rows to the sampler: sampler.step(row)"
            )
        value = row[key]
        if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            return key
        numbers[key] = value
    size, energy = int(numbers["batch_size"]), numbers["fisher/energy"] / numbers["lr"]
    return MeasuredStep(
        numbers[beacons.column], energy * math.sqrt(size), numbers["fisher/energy_sum"], size,
        numbers["steps_since"], int(numbers["samples"]),
    )  # fmt: skip


def add_step(
    state: State, step: MeasuredStep, beacons: Beacons, epochs: int, growth: BeaconGrowth | None
) -> State:
    """Return the state with one more measurement.

    Args:
        state: The policy's state.
        step: The measurement.
        beacons: The policy's beacons.
        epochs: Length of the run.
        growth: The expected growth; None in the epochs of a tour, whose measurements are only collected.
    """
    log = math.log(step.cond)
    new = {
        **state,
        "samples": step.samples,
        "weight": state["weight"] + step.steps,
        "total": state["total"] + step.steps * (log if beacons.geometric else step.cond),
        "energy": step.energy,
        "sizes": state["sizes"] + max(step.samples - state["samples"], 0) * math.log(step.size),
    }
    if growth is None:
        return {**new, "tour": _add_to_tour(state["tour"], beacons.tour, step)}
    middle = (step.samples - step.size / 2) / (beacons.samples * epochs)
    part = min(int(middle * beacons.parts), beacons.parts - 1)
    cond, density = growth.at(part, step.size)
    # compared as it is averaged: L adds up the density itself, so the mean of the density counts
    excess = log - cond if beacons.geometric else step.cond / math.exp(cond), step.density / math.exp(density)
    offsets = [MEMORY * total + value for total, value in zip(state["offsets"], excess, strict=True)]
    return {**new, "seen": MEMORY * state["seen"] + 1.0, "offsets": offsets}


def _add_to_tour(
    tour: dict[str, list[float]], sizes: tuple[int, ...], step: MeasuredStep
) -> dict[str, list[float]]:
    """Return the sums by size with one more measurement; incomplete batches are left out."""
    if step.size not in sizes:
        return tour
    sums = tour.get(str(step.size), [0.0, 0.0, 0.0])
    return {
        **tour,
        str(step.size): [sums[0] + 1, sums[1] + math.log(step.cond), sums[2] + math.log(step.density)],
    }


def in_tour(observation: Observation, step: MeasuredStep, beacons: Beacons) -> bool:
    """Return whether the measured step was in one of the tour's epochs."""
    return step.samples <= len(beacons.tour) * observation.epoch_samples


def run_so_far(state: State, beacons: Beacons) -> RunSoFar:
    """Return the run's sums, and its offsets shrunk towards the beacons (normal prior).

    The shrinkage depends on how much runs differ from their beacons and measurements from their run.
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
        deviations.append(math.sqrt(between * within / information + LASTING_DOUBT**2 * between))
    return RunSoFar(
        state["samples"], state["weight"], state["total"], state["energy"], state["sizes"],
        (offsets[0], offsets[1]), (deviations[0], deviations[1]),
    )  # fmt: skip
