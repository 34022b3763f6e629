"""BeaconPolicy: the cheapest remaining schedule that ends in the optimum region of the (C̄, L) plane."""

import math
from dataclasses import dataclass, field
from functools import cached_property

from fisherscope.policy.beacon import run_state
from fisherscope.policy.beacon.calibration import Beacons, read_beacons
from fisherscope.policy.beacon.candidates import Schedule, schedules, spelt
from fisherscope.policy.beacon.forecast import End, Forecaster, road
from fisherscope.policy.beacon.growth import BeaconGrowth, growth_at, growth_of_tour
from fisherscope.policy.beacon.region import Region, region_of
from fisherscope.policy.decision import Decision, Observation, State
from fisherscope.policy.lr_schedule import Rate

WORTH = 0.95
"""A schedule is left for another only where that takes less than this share of its time."""
LIKELY = 0.5
"""Probability below which a sentence says that no schedule is likely to end in the region."""


@dataclass(frozen=True)
class BeaconPolicy:
    """`beacon:FILE.json`: steers (C̄_K, L_K) into the region where fixed settings ended well.

    At the start of each twentieth of the run it adds up where a small family of remaining schedules would
    end, by the growth that beacons had at each size, corrected by what this run has shown. Of those that are
    almost as likely to end in the region as the likeliest (`beacons.chance` of its probability) it takes the
    one with the least time to go, by the file's seconds a step; if none can end there, the one that comes
    nearest. It says why in one sentence each time. The rate is the schedule's. Cost: microseconds a batch,
    some milliseconds twenty times a run.

    Args:
        beacons: Growth, region and cost: frozen, part of the name by their digest.
        rate: Learning rate; its levels must be the beacons'.
        path: File that they were read from.

    Raises:
        ValueError: The beacons are of another length or other levels, or none has this rate; from `update`: a
            row lacks a key, or the epochs have another number of samples.
    """

    beacons: Beacons = field(repr=False)
    rate: Rate
    path: str = ""

    closed_loop = True

    def __post_init__(self) -> None:
        mine = (self.rate.epochs, self.rate.milestones, self.rate.factor)
        theirs = (self.beacons.epochs, self.beacons.milestones, self.beacons.factor)
        if mine != theirs:
            raise ValueError(
                f"steering by beacons of {self.beacons.task}: they have (epochs, milestones, factor) = "
                f"{theirs}, this run {mine}; the region is that of one budget: train beacons of this schedule"
            )
        if self.beacons.beacons:
            self._growth  # noqa: B018  (a rate without beacons is refused now, not in the first epoch)

    @property
    def name(self) -> str:
        return f"beacon:{self.path}@{self.beacons.digest}{self.rate.suffix}"

    @property
    def planned_sizes(self) -> tuple[int, ...]:
        """The batch sizes that it chooses among and counts on in forecasts."""
        return self._growth.sizes if self.beacons.beacons else self.beacons.sizes

    def __repr__(self) -> str:
        return f"BeaconPolicy({self.beacons.digest}, {self.rate!r})"

    def init(self) -> State:
        return {"part": -1, "size": 0, "plan": [], **run_state.nothing()}

    def update(self, state: State, observation: Observation) -> tuple[State, Decision]:
        self._expect(observation)
        state, trouble = self._told(state, observation)
        lr, tour = self.rate.at(observation), self.beacons.tour
        if observation.epoch < len(tour):
            size = tour[observation.epoch]
            why = f"beacon: {size} to learn its growth" if size != state["size"] else trouble
            return {**state, "size": size}, Decision(size, lr, why)
        part = min(int(observation.progress * self.beacons.parts / self.rate.epochs), self.beacons.parts - 1)
        if part == state["part"]:
            return state, Decision(state["size"], lr, trouble)
        plan, why = self._decided(state, observation, part)
        size = self._road(state).growth.sizes[plan[0]]
        return {**state, "part": part, "size": size, "plan": list(plan)}, Decision(size, lr, why)

    def forecast(self, state: State, samples: int, schedule: Schedule | None = None) -> End:
        """Where the run will end under a schedule; by default the one it is on.

        Args:
            state: The policy's, after its first decision.
            samples: Samples done.
            schedule: A size's number for each part from the current one on.
        """
        chosen = tuple(state["plan"]) if schedule is None else schedule
        standing = run_state.standing(state, self.beacons)
        return self._road(state).end(standing, state["part"], samples, chosen)

    def _expect(self, observation: Observation) -> None:
        """The first batch is the same whatever the number of samples; from the second on it must be right."""
        if observation.samples and observation.epoch_samples != self.beacons.samples:
            raise ValueError(
                f"steering by beacons of {self.beacons.task}: they are for epochs of {self.beacons.samples} "
                f"samples, this run has {observation.epoch_samples}; make the file anew for this data"
            )

    def _told(self, state: State, observation: Observation) -> tuple[State, str]:
        """The state with what was measured, or the reason why that was left out."""
        if observation.measurement is None:
            return state, ""
        seen = run_state.read(observation.measurement, self.beacons)
        if isinstance(seen, str):
            return state, f"beacon: kept {state['size']}, {seen} is not a positive number"
        toured = run_state.in_tour(observation, seen, self.beacons)
        growth = None if toured else self._road(state).growth
        return run_state.added(state, seen, self.beacons, self.rate.epochs, growth), ""

    def _decided(self, state: State, observation: Observation, part: int) -> tuple[Schedule, str]:
        """The schedule to follow from this part on, and the sentence that says why."""
        ahead, left = self._road(state), self.beacons.parts - part
        sizes, standing = ahead.growth.sizes, run_state.standing(state, self.beacons)
        current = sizes.index(state["size"]) if state["size"] in sizes else None
        kept = tuple(state["plan"][-left:]) if len(state["plan"]) >= left else None
        family = schedules(len(sizes), current, left, self._turn(part))
        looked_at = dict.fromkeys(([kept] if kept else []) + family)
        ends = {s: ahead.end(standing, part, observation.samples, s) for s in looked_at}
        chances = {s: self._chance(end) for s, end in ends.items()}
        plan = self._chosen(ends, chances, kept)
        return plan, self._sentence(sizes, plan, ends, chances[plan], plan == kept)

    def _chosen(
        self, ends: dict[Schedule, End], chances: dict[Schedule, float], kept: Schedule | None
    ) -> Schedule:
        """The cheapest of the likely ones; where all are impossible, the one that comes nearest."""
        most = max(chances.values())
        if most == 0.0:
            return min(ends, key=lambda s: self._region.distance(ends[s].cond, ends[s].energy))
        likely = [s for s in ends if chances[s] >= self.beacons.chance * most]
        return min(likely, key=lambda s: (ends[s].seconds * (WORTH if s == kept else 1.0), -chances[s]))

    def _sentence(
        self, sizes: tuple[int, ...], plan: Schedule, ends: dict[Schedule, End], chance: float, kept: bool
    ) -> str:
        end = ends[plan]
        if chance >= LIKELY:
            why = f"the fastest of those that are likely to end in the region, of {len(ends)} schedules"
        else:
            why = (
                f"none of {len(ends)} schedules is likely to end in the region, this one is among the nearest"
            )
        return (
            f"beacon: {'still ' if kept else ''}{spelt(sizes, plan)} (twentieths of the run), {why}: "
            f"{self.beacons.axis} {math.exp(end.cond):.4g} ± {100 * end.cond_std:.0f} %, "
            f"L {math.exp(end.energy):.4g} ± {100 * end.energy_std:.0f} %, {100 * chance:.0f} % inside, "
            f"{end.seconds:.3g} s to go"
        )

    def _chance(self, end: End) -> float:
        return self._region.chance(end.cond, end.energy, end.cond_std, end.energy_std)

    def _turn(self, part: int) -> int:
        """Parts from `part` to the next milestone; 0 for none."""
        borders = [math.ceil(edge * self.beacons.parts / self.rate.epochs) for edge in self.rate.edges[1:-1]]
        return next((border - part for border in borders if border > part), 0)

    def _road(self, state: State) -> Forecaster:
        """By the beacons; without them, by what the run's tour showed."""
        if self.beacons.beacons:
            return self._fixed_road
        return road(self.beacons, growth_of_tour(self.beacons, state["tour"]), self.rate)

    @cached_property
    def _growth(self) -> BeaconGrowth:
        return growth_at(self.beacons, self.rate.lr)

    @cached_property
    def _fixed_road(self) -> Forecaster:
        return road(self.beacons, self._growth, self.rate)

    @cached_property
    def _region(self) -> Region:
        return region_of(self.beacons.region)


def parse_beacon(doing: str, text: str, rate: Rate) -> BeaconPolicy:
    """The policy of `FILE.json` or `FILE.json@digest`.

    Raises:
        ValueError: The file is missing, or its content is not that of the digest.
    """
    path, _, digest = text.partition("@")
    if not path:
        raise ValueError(f"{doing}: which file? Such as beacon:beacons.json; fisherscope beacons makes one")
    beacons = read_beacons(path)
    if digest not in ("", beacons.digest):
        raise ValueError(
            f"{doing}: {path} has changed: its content is {beacons.digest} now; a run goes on with the "
            "beacons that it began with: put that file back, or begin a new run without the @ part"
        )
    return BeaconPolicy(beacons, rate, path)
