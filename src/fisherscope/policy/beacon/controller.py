"""BeaconPolicy: the cheapest schedule that ends in the optimum region of the plane."""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

from fisherscope.policy.beacon import run_state
from fisherscope.policy.beacon.calibration import Beacons, read_beacons
from fisherscope.policy.beacon.candidates import Schedule, format_schedule, schedules
from fisherscope.policy.beacon.forecast import End, Forecaster, RunSoFar, build_forecaster
from fisherscope.policy.beacon.growth import BeaconGrowth, growth_at, growth_of_tour
from fisherscope.policy.beacon.region import Region, region_of
from fisherscope.policy.decision import Decision, Observation, State
from fisherscope.policy.lr_schedule import Rate

Candidate = tuple[float, Schedule]
"""A multiplier of the learning rate, and a size for each remaining part."""
SWITCH_RATIO = 0.95
"""The policy switches to another schedule only if that takes less than this share of the time."""
LIKELY = 0.5
"""Probability below which the reason says that no schedule is likely to end in the region."""


@dataclass(frozen=True)
class BeaconPolicy:
    """Steer (C̄_K, L_K) into the region of the best fixed settings, `beacon:FILE.json`.

    At the start of each twentieth of the run it forecasts where a small family of remaining schedules would
    end, from the growth of the beacons at each size, corrected by this run's own measurements. Among the
    schedules that are almost as likely to end in the region as the likeliest (`beacons.chance` of its
    probability) it takes the one with the least time to go, by the file's seconds per step; if none can end
    there, the one that comes nearest. Each decision has a reason, one sentence.

    A schedule is a batch size for each remaining part and, if the file has several `rates`, one multiplier of
    the learning rate for all of them; the growth at another rate is that of the beacons at that rate. As with
    sizes, the effect of a change on the measure counts as one standard deviation: no beacon changed its rate.

    Source: the plane and the beacons are those of Liao et al. 2020; the policy is fisherscope's own
    (docs/policies.md).

    Args:
        beacons: Growth, region and cost: frozen; their digest is part of the name.
        rate: Learning-rate schedule; its levels must be the beacons'.
        path: File that the beacons were read from.

    Raises:
        ValueError: The beacons are for another length or other levels, or none has this learning rate; from
            `update`: a row lacks a key, or the epochs have another number of samples.

    Cost: microseconds per batch, and some milliseconds twenty times per run.

    Example:
        ```python
        growth = dict(cond=(4.0,) * 20, density=(1.0,) * 20)
        beacons = fs.policy.Beacons(
            task="mine", meant_for="mine", samples=320, epochs=40, milestones=(0.5, 0.75), factor=0.1,
            axis="effective_rank_mean", sizes=(8, 32), seconds=(0.01, 0.02),
            region=(fs.policy.Place("s8-lr0.1", 4.0, 40.0, True),),
            beacons=tuple(fs.policy.Beacon(size, 0.1, **growth) for size in (8, 32)),
            cond_spread=fs.policy.Spread(0.1, 0.1), energy_spread=fs.policy.Spread(0.1, 0.1),
        )
        policy = fs.policy.BeaconPolicy(beacons, fs.policy.Rate(0.1, epochs=40))
        _, decision = policy.update(policy.init(), fs.policy.Observation(0, 0, 320))
        print(decision.reason)
        ```
    """

    beacons: Beacons = field(repr=False)
    rate: Rate
    path: str = ""

    closed_loop = True

    def __post_init__(self) -> None:
        own = (self.rate.epochs, self.rate.milestones, self.rate.factor)
        expected = (self.beacons.epochs, self.beacons.milestones, self.beacons.factor)
        if own != expected or self.rate.shape != "levels" or self.rate.curve.warmup:
            raise ValueError(
                f"steering by beacons of {self.beacons.task}: they have (epochs, milestones, factor) = "
                f"{expected}, this run {own}{self.rate.suffix}; the region is that of one budget: train "
                "beacons with this schedule"
            )
        if self.beacons.beacons:
            self._growths  # noqa: B018  (raises now, not in the first epoch, if a rate has no beacons)

    @property
    def name(self) -> str:
        """The name that `parse` reads; see `Policy.name`."""
        return f"beacon:{self.path}@{self.beacons.digest}{self.rate.suffix}"

    @property
    def planned_sizes(self) -> tuple[int, ...]:
        """The batch sizes that the policy chooses among, in its forecasts too."""
        return self._growth.sizes if self.beacons.beacons else self.beacons.sizes

    def __repr__(self) -> str:
        return f"BeaconPolicy({self.beacons.digest}, {self.rate!r})"

    def init(self) -> State:
        """Return the state before the first batch; see `Policy.init`."""
        return {"part": -1, "size": 0, "plan": [], "rate": 1.0, **run_state.initial_state()}

    def update(self, state: State, observation: Observation) -> tuple[State, Decision]:
        """Return the next state and the decision for the next batch; see `Policy.update`."""
        self._check_samples(observation)
        state, problem = self._add_measurement(state, observation)
        tour = self.beacons.tour
        gain = state.get("rate", 1.0)  # a state saved before rates existed has none
        lr = self.rate.at(observation) * gain
        if observation.epoch < len(tour):
            size = tour[observation.epoch]
            why = f"beacon: {size} to learn its growth" if size != state["size"] else problem
            return {**state, "size": size}, Decision(size, lr, why, gain)
        part = min(int(observation.progress * self.beacons.parts / self.rate.epochs), self.beacons.parts - 1)
        if part == state["part"]:
            return state, Decision(state["size"], lr, problem, gain)
        (rate, plan), why = self._choose_schedule(state, observation, part)
        size = self._forecaster(state).growth.sizes[plan[0]]
        state = {**state, "part": part, "size": size, "plan": list(plan), "rate": rate}
        return state, Decision(size, self.rate.at(observation) * rate, why, rate)

    def forecast(self, state: State, samples: int, schedule: Schedule | None = None) -> End:
        """Forecast where the run ends under a schedule.

        Args:
            state: The policy's state, after its first decision.
            samples: Completed samples.
            schedule: Index of a size for each part from the current one on; None for the current plan.

        Returns:
            Logarithms of the measure's mean and of L at the end, their standard deviations, seconds to go.

        Raises:
            ValueError: There are no beacons, and fewer than two sizes have been measured.

        Example:
            ```python
            beacons = fs.policy.Beacons(
                task="mine", meant_for="mine", samples=320, epochs=40, milestones=(0.5, 0.75), factor=0.1,
                axis="effective_rank_mean", sizes=(8, 32), seconds=(0.01, 0.02),
                region=(fs.policy.Place("s8-lr0.1", 4.0, 40.0, True),),
                beacons=tuple(fs.policy.Beacon(b, 0.1, (4.0,) * 20, (1.0,) * 20) for b in (8, 32)),
                cond_spread=fs.policy.Spread(0.1, 0.1), energy_spread=fs.policy.Spread(0.1, 0.1),
            )
            policy = fs.policy.BeaconPolicy(beacons, fs.policy.Rate(0.1, epochs=40))
            state, _ = policy.update(policy.init(), fs.policy.Observation(0, 0, 320))
            print(policy.forecast(state, samples=0).seconds)
            ```
        """
        plan = tuple(state["plan"]) if schedule is None else schedule
        so_far = run_state.run_so_far(state, self.beacons)
        return self._forecaster(state).end(so_far, state["part"], samples, plan)

    def _check_samples(self, observation: Observation) -> None:
        """Check the samples per epoch from the second batch on; the first does not depend on them."""
        if observation.samples and observation.epoch_samples != self.beacons.samples:
            raise ValueError(
                f"steering by beacons of {self.beacons.task}: they are for epochs of {self.beacons.samples} "
                f"samples, this run has {observation.epoch_samples}; make a file for this data"
            )

    def _add_measurement(self, state: State, observation: Observation) -> tuple[State, str]:
        """Return the state with the measurement, and why it was left out, if it was."""
        if observation.measurement is None:
            return state, ""
        step = run_state.read_step(observation.measurement, self.beacons)
        if isinstance(step, str):
            return state, f"beacon: kept {state['size']}, {step} is not a positive number"
        in_tour = run_state.in_tour(observation, step, self.beacons)
        growth = None if in_tour else self._forecaster(state).growth
        return run_state.add_step(state, step, self.beacons, self.rate.epochs, growth), ""

    def _choose_schedule(self, state: State, observation: Observation, part: int) -> tuple[Candidate, str]:
        """Return rate and sizes to follow from this part on, and the sentence that says why."""
        parts_left, before = self.beacons.parts - part, state.get("rate", 1.0)
        sizes, so_far = self._forecaster(state).growth.sizes, run_state.run_so_far(state, self.beacons)
        current = sizes.index(state["size"]) if state["size"] in sizes else None
        present = tuple(state["plan"][-parts_left:]) if len(state["plan"]) >= parts_left else None
        family = schedules(len(sizes), current, parts_left, self._next_milestone(part))
        plans = dict.fromkeys(([present] if present else []) + family)
        ends = {
            (rate, plan): self._end(state, so_far, part, observation.samples, (rate, plan))
            for rate in self.beacons.rates
            for plan in plans
        }
        chances = {candidate: self._chance(end) for candidate, end in ends.items()}
        kept = None if present is None else (before, present)
        chosen = self._best_schedule(ends, chances, kept)
        why = self._reason(sizes, chosen, ends, chances[chosen], chosen == kept)
        if chosen[0] != before:
            lr = self.rate.at(observation)
            moved = (
                f"rate {lr * before:.4g} to {lr * chosen[0]:.4g} (from {before:g} to {chosen[0]:g} of its "
                "schedule)"
            )
            why = why.replace("beacon: ", f"beacon: {moved}, ", 1)
        return chosen, why

    def _end(self, state: State, so_far: RunSoFar, part: int, now: float, candidate: Candidate) -> End:
        """Forecast a candidate's end; the effect of a change of rate on the measure counts as a deviation."""
        rate, plan = candidate
        before = state.get("rate", 1.0)
        end = self._forecaster(state, rate).end(so_far, part, now, plan)
        if rate == before or not now:
            return end
        kept = self._forecaster(state, before).end(so_far, part, now, plan)
        return replace(end, cond_std=math.hypot(end.cond_std, end.cond - kept.cond))

    def _best_schedule(
        self, ends: dict[Candidate, End], chances: dict[Candidate, float], present: Candidate | None
    ) -> Candidate:
        """Return the cheapest of the likely candidates; if all are impossible, the nearest.

        Of several rates with the same sizes, which take the same time, the likeliest is taken.
        """
        most = max(chances.values())
        if most == 0.0:
            return min(ends, key=lambda s: self._region.distance(ends[s].cond, ends[s].energy))
        likely = [s for s in ends if chances[s] >= self.beacons.chance * most]
        return min(
            likely, key=lambda s: (ends[s].seconds * (SWITCH_RATIO if s == present else 1.0), -chances[s])
        )

    def _reason(
        self, sizes: tuple[int, ...], chosen: Candidate, ends: dict[Candidate, End], chance: float, same: bool
    ) -> str:
        end, count = ends[chosen], len(ends)
        if chance >= LIKELY:
            why = f"the fastest of those that are likely to end in the region, of {count} schedules"
        else:
            why = f"none of {count} schedules is likely to end in the region, this one is among the nearest"
        at_rate = f" at {chosen[0]:g} of the rate" if len(self.beacons.rates) > 1 else ""
        return (
            f"beacon: {'still ' if same else ''}{format_schedule(sizes, chosen[1])} (twentieths of the run)"
            f"{at_rate}, {why}: "
            f"{self.beacons.axis} {math.exp(end.cond):.4g} ± {100 * end.cond_std:.0f} %, "
            f"L {math.exp(end.energy):.4g} ± {100 * end.energy_std:.0f} %, {100 * chance:.0f} % inside, "
            f"{end.seconds:.3g} s to go"
        )

    def _chance(self, end: End) -> float:
        return self._region.chance(end.cond, end.energy, end.cond_std, end.energy_std)

    def _next_milestone(self, part: int) -> int:
        """Return the parts from `part` to the next milestone; 0 if there is none."""
        borders = [math.ceil(edge * self.beacons.parts / self.rate.epochs) for edge in self.rate.edges[1:-1]]
        return next((border - part for border in borders if border > part), 0)

    def _forecaster(self, state: State, rate: float | None = None) -> Forecaster:
        """Return the forecaster of a multiplier of the rate, by the beacons or by the run's own tour."""
        if self.beacons.beacons:
            return self._forecasters[state.get("rate", 1.0) if rate is None else rate]
        return build_forecaster(self.beacons, growth_of_tour(self.beacons, state["tour"]), self.rate)

    @cached_property
    def _growths(self) -> dict[float, BeaconGrowth]:
        """Growth at each multiplier of the rate, at the sizes that all of them have."""
        growths = {rate: growth_at(self.beacons, self.rate.lr * rate) for rate in self.beacons.rates}
        sizes = [
            size for size in self.beacons.sizes if all(size in growth.sizes for growth in growths.values())
        ]
        if len(sizes) < 2:
            raise ValueError(
                f"steering at {', '.join(f'{self.rate.lr * rate:g}' for rate in growths)}: fewer than two "
                "batch sizes have beacons at all of these rates; choose other multipliers, or train more "
                "beacons"
            )
        return {rate: growth.at_sizes(sizes) for rate, growth in growths.items()}

    @property
    def _growth(self) -> BeaconGrowth:
        return self._growths[1.0]

    @property
    def _beacon_forecaster(self) -> Forecaster:
        return self._forecasters[1.0]

    @cached_property
    def _forecasters(self) -> dict[float, Forecaster]:
        return {
            rate: build_forecaster(self.beacons, growth, replace(self.rate, lr=self.rate.lr * rate))
            for rate, growth in self._growths.items()
        }

    @cached_property
    def _region(self) -> Region:
        return region_of(self.beacons.region)


def parse_beacon(doing: str, text: str, rate: Rate) -> BeaconPolicy:
    """Return the policy of `FILE.json` or `FILE.json@digest`.

    Raises:
        ValueError: The file is missing, or its content does not have that digest.
    """
    path, _, digest = text.partition("@")
    if not path:
        raise ValueError(f"{doing}: no file; write beacon:FILE.json (fisherscope beacons makes one)")
    beacons = read_beacons(path)
    if digest not in ("", beacons.digest):
        raise ValueError(
            f"{doing}: {path} has changed: its digest is {beacons.digest} now; a run can only be resumed "
            "with the beacons it was started with: restore that file, or start a new run without the @ part"
        )
    return BeaconPolicy(beacons, rate, path)
