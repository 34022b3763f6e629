"""BeaconPolicy: the cheapest remaining schedule that ends in the optimum region of the (C̄, L) plane."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from fisherscope.policy.beacons import Beacons, read_beacons
from fisherscope.policy.decision import Decision, Observation, State
from fisherscope.policy.forecast import End, Growth, Region, Road, Standing, growth_at, region_of, road
from fisherscope.policy.rate import Rate
from fisherscope.policy.schedules import Schedule, schedules, spelt

MEMORY = 0.95
"""Weight of earlier measurements in how this run differs from its beacons: the last twenty or so count."""
OPEN = 0.5
"""Share of a run's deviation from beacons that stays open however long the run has been seen."""
WORTH = 0.95
"""A schedule is left for another only where that takes less than this share of its time."""


@dataclass(frozen=True)
class BeaconPolicy:
    """`beacon:FILE.json`: steers (C̄_K, L_K) into the region where fixed settings ended well.

    At the start of each twentieth of the run it adds up where a small family of remaining schedules would
    end, by the growth that beacons had at each size, corrected by what this run has shown; takes the cheapest
    that ends in the region with the asked-for probability, by the file's seconds a step; if there is none,
    the likeliest, or the one that comes nearest. The rate is the schedule's. Cost: microseconds a batch, some
    milliseconds twenty times a run.

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

    def __repr__(self) -> str:
        return f"BeaconPolicy({self.beacons.digest}, {self.rate!r})"

    def init(self) -> State:
        return {"part": -1, "size": 0, "plan": [], "samples": 0, "weight": 0, "total": 0.0, "energy": 0.0,
                "seen": 0.0, "offsets": [0.0, 0.0], "tour": {}}  # fmt: skip

    def update(self, state: State, observation: Observation) -> tuple[State, Decision]:
        self._expect(observation)
        lr, trouble = self.rate.at(observation), ""
        if observation.measurement is not None:
            state, trouble = self._seen(state, observation)
        tour = self.beacons.tour
        if observation.epoch < len(tour):
            size = tour[observation.epoch]
            why = f"beacon: {size} to learn its growth" if size != state["size"] else trouble
            return {**state, "size": size}, Decision(size, lr, why)
        part = min(int(observation.progress * self.beacons.parts / self.rate.epochs), self.beacons.parts - 1)
        if part == state["part"]:
            return state, Decision(int(state["size"]), lr, trouble)
        return self._decided(state, observation, part, lr, trouble)

    def forecast(self, state: State, samples: int, schedule: Schedule | None = None) -> End:
        """Where the run will end under a schedule; by default the one it is on.

        Args:
            state: The policy's, after its first decision.
            samples: Samples done.
            schedule: A size's number (in `beacons.sizes`) for each part from the current one on.
        """
        chosen = tuple(state["plan"]) if schedule is None else schedule
        return self._road(state).end(self._standing(state), state["part"], samples, chosen)

    # Decisions

    def _decided(
        self, state: State, observation: Observation, part: int, lr: float, trouble: str
    ) -> tuple[State, Decision]:
        ahead, left = self._road(state), self.beacons.parts - part
        sizes, standing = ahead.growth.sizes, self._standing(state)
        current = sizes.index(state["size"]) if state["size"] in sizes else None
        kept = tuple(state["plan"][-left:]) if len(state["plan"]) >= left else None
        family = dict.fromkeys(
            ([kept] if kept else []) + schedules(len(sizes), current, left, self._turn(part))
        )
        ends = {s: ahead.end(standing, part, observation.samples, s) for s in family}
        plan, chance = self._chosen(ends, kept)
        size = sizes[plan[0]]
        new = {**state, "part": part, "size": size, "plan": list(plan)}
        why = self._sentence(sizes, plan, ends[plan], chance, len(ends)) if plan != kept else trouble
        return new, Decision(size, lr, why)

    def _chosen(self, ends: dict[Schedule, End], kept: Schedule | None) -> tuple[Schedule, float]:
        """The cheapest likely schedule and its probability; else the likeliest; else the nearest."""
        by_cost = sorted(ends, key=lambda s: ends[s].seconds * (WORTH if s == kept else 1.0))
        best, most = by_cost[0], -math.inf
        for schedule in by_cost:
            end = ends[schedule]
            chance = self._region.chance(end)
            if chance >= self.beacons.chance:
                return schedule, chance
            score = chance if chance > 0 else -self._region.distance(end.cond, end.energy)
            if score > most:
                best, most = schedule, score
        return best, max(most, 0.0)

    def _sentence(self, sizes: tuple[int, ...], plan: Schedule, end: End, chance: float, count: int) -> str:
        if chance >= self.beacons.chance:
            why = f"the fastest of {count} schedules that is likely to end in the region"
        else:
            why = f"none of {count} schedules is likely to end in the region, this one comes closest"
        return (
            f"beacon: {spelt(sizes, plan)} (twentieths of the run), {why}: {self.beacons.axis} "
            f"{math.exp(end.cond):.4g} ± {100 * end.cond_std:.0f} %, L {math.exp(end.energy):.4g} ± "
            f"{100 * end.energy_std:.0f} %, {100 * chance:.0f} % inside, {end.seconds:.3g} s to go"
        )

    def _turn(self, part: int) -> int:
        """Parts from `part` to the next milestone; 0 for none."""
        borders = [math.ceil(edge * self.beacons.parts / self.rate.epochs) for edge in self.rate.edges[1:-1]]
        return next((border - part for border in borders if border > part), 0)

    # What this run has shown

    def _seen(self, state: State, observation: Observation) -> tuple[State, str]:
        """The state with one more measurement, or why it was left out."""
        row = _numbers(observation, self.beacons.column)
        if isinstance(row, str):
            return state, f"beacon: kept {state['size']}, {row} is not a positive number" if state[
                "size"
            ] else ""
        cond, density = (
            math.log(row[self.beacons.column]),
            0.5 * math.log(row["fisher/trace"] / row["batch_size"]),
        )
        steps = row["steps_since"]
        new = {
            **state,
            "samples": row["samples"],
            "weight": state["weight"] + steps,
            "total": state["total"] + steps * (cond if self.beacons.geometric else math.exp(cond)),
            "energy": row["fisher/energy_sum"],
        }
        if observation.epoch <= len(self.beacons.tour) and self.beacons.tour:
            return {
                **new,
                "tour": _toured(state["tour"], self.beacons.tour, row["batch_size"], cond, density),
            }, ""
        middle = (row["samples"] - row["batch_size"] / 2) / (self.beacons.samples * self.rate.epochs)
        part = min(int(middle * self.beacons.parts), self.beacons.parts - 1)
        expected = self._growth_of(state).at(part, row["batch_size"])
        misses = (cond - expected[0], density - expected[1])
        sums = [MEMORY * total + miss for total, miss in zip(state["offsets"], misses, strict=True)]
        return {**new, "seen": MEMORY * state["seen"] + 1.0, "offsets": sums}, ""

    def _standing(self, state: State) -> Standing:
        """Offsets shrunk towards the beacons by how much a run and a measurement vary (normal prior)."""
        offsets, deviations = [], []
        for total, spread in zip(
            state["offsets"], (self.beacons.cond_spread, self.beacons.energy_spread), strict=True
        ):
            between, within = spread.run**2, spread.step**2
            information = within + state["seen"] * between
            offsets.append(between * total / information)
            deviations.append(math.sqrt(between * within / information + OPEN**2 * between))
        return Standing(
            state["samples"], state["weight"], state["total"], state["energy"],
            (offsets[0], offsets[1]), (deviations[0], deviations[1]),
        )  # fmt: skip

    # What never changes

    @cached_property
    def _growth(self) -> Growth:
        return growth_at(self.beacons, self.rate.lr)

    @cached_property
    def _fixed_road(self) -> Road:
        return road(self.beacons, self._growth, self.rate)

    @cached_property
    def _region(self) -> Region:
        return region_of(self.beacons.region)

    def _growth_of(self, state: State) -> Growth:
        """The beacons' growth; without beacons, that of the tour, taken to stay as it was."""
        if self.beacons.beacons:
            return self._growth
        known = {int(size): sums for size, sums in state["tour"].items()}
        if len(known) < 2:
            raise ValueError(
                f"steering by the run's own first epochs: {len(known)} of the sizes {self.beacons.tour} were "
                "measured in them, expected at least 2; measure more often (per_epoch=…) or give beacons"
            )
        sizes = tuple(sorted(known))
        cond, density = (tuple(known[s][k] / known[s][0] for s in sizes) for k in (1, 2))
        short = Growth(sizes, (cond,), (density,))
        columns = [short.at(0, size) for size in self.beacons.sizes]
        parts = self.beacons.parts
        return Growth(
            self.beacons.sizes,
            (tuple(c for c, _ in columns),) * parts,
            (tuple(d for _, d in columns),) * parts,
        )

    def _road(self, state: State) -> Road:
        return (
            self._fixed_road
            if self.beacons.beacons
            else road(self.beacons, self._growth_of(state), self.rate)
        )

    def _expect(self, observation: Observation) -> None:
        """The first batch is the same whatever the number of samples; from the second on it must be right."""
        if observation.samples and observation.epoch_samples != self.beacons.samples:
            raise ValueError(
                f"steering by beacons of {self.beacons.task}: they are for epochs of {self.beacons.samples} "
                f"samples, this run has {observation.epoch_samples}; make the file anew for this data"
            )


def _numbers(observation: Observation, column: str) -> dict[str, Any] | str:
    """What is read of a row, or the key of the first that is not positive.

    Raises:
        ValueError: The row lacks a key altogether.
    """
    row, found = observation.measurement or {}, {}
    for key in (column, "fisher/trace", "fisher/energy_sum", "batch_size", "steps_since", "samples"):
        if key not in row:
            raise ValueError(
                f"reading a measurement: the row has no {key!r}; it has {', '.join(sorted(row)) or 'none'}; "
                "give the sampler the monitor's rows: sampler.step(row)"
            )
        value = observation.value(key)
        if value is None or value <= 0:
            return key
        found[key] = row[key]
    return found


def _toured(
    tour: dict[str, list[float]], sizes: tuple[int, ...], size: int, cond: float, density: float
) -> dict[str, list[float]]:
    """Sums by size with one more measurement; of whole batches only."""
    if size not in sizes:
        return tour
    sums = tour.get(str(size), [0.0, 0.0, 0.0])
    return {**tour, str(size): [sums[0] + 1, sums[1] + cond, sums[2] + density]}


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
