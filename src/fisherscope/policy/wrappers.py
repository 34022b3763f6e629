"""Wrappers that hold a policy's batch size: bounds, multiples, hysteresis, limited growth."""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar

from fisherscope.policy.decision import Decision, Observation, State, require_above, require_size
from fisherscope.policy.lr_schedule import Rate
from fisherscope.policy.options import option_suffix
from fisherscope.policy.protocol import Policy


@dataclass(frozen=True)
class Wrapper:
    """A policy whose decisions another one changes; written behind its name: `s32-cabs+bounds:max=512`.

    From left to right is from the inside out: in `…+multiple:of=8+bounds:max=500` the bounds have the last
    word.
    """

    policy: Policy
    family: ClassVar[str]

    @property
    def name(self) -> str:
        return f"{self.policy.name}+{self.family}{option_suffix(self, 1)}"

    @property
    def rate(self) -> Rate:
        return self.policy.rate

    @property
    def closed_loop(self) -> bool:
        return self.policy.closed_loop

    def init(self) -> State:
        return {"inner": self.policy.init()}

    def update(self, state: State, observation: Observation) -> tuple[State, Decision]:
        inner, decision = self.policy.update(state["inner"], observation)
        new, decision = self.change({**state, "inner": inner}, decision, observation)
        return new, decision

    def change(self, state: State, decision: Decision, observation: Observation) -> tuple[State, Decision]:
        """The wrapper's state and the decision it makes of the inner one."""
        raise NotImplementedError

    def resized(self, decision: Decision, size: int) -> Decision:
        """`decision` with another size, said in its reason if it has one."""
        note = f"; {size} by {self.family}" if decision.reason and size != decision.batch_size else ""
        return replace(decision, batch_size=size, reason=decision.reason + note)


@dataclass(frozen=True)
class Bounds(Wrapper):
    """`+bounds:min=8,max=512`: sizes outside are moved to the nearer bound; no `max` is no upper bound.

    Raises:
        ValueError: The bounds contradict each other, or cut sizes that the policy plans with.
    """

    min: int = 1
    max: int | None = None

    family: ClassVar[str] = "bounds"

    def __post_init__(self) -> None:
        require_size("building bounds", self.min)
        if self.max is not None and require_size("building bounds", self.max) < self.min:
            raise ValueError(f"building bounds: max={self.max} lies below min={self.min}; exchange them")
        planned = getattr(self.policy, "planned_sizes", ())
        cut = [size for size in planned if size < self.min or (self.max is not None and size > self.max)]
        if cut:
            raise ValueError(
                f"building bounds around {self.policy.name}: it plans with sizes {', '.join(map(str, cut))} "
                "too and would forecast wrongly; make its file for fewer sizes: fisherscope beacons --sizes …"
            )

    def change(self, state: State, decision: Decision, observation: Observation) -> tuple[State, Decision]:
        size = max(decision.batch_size, self.min)
        return state, self.resized(decision, size if self.max is None else min(size, self.max))


@dataclass(frozen=True)
class Multiple(Wrapper):
    """`+multiple:of=8`: sizes go to the nearest multiple (half up), within the data."""

    of: int

    family: ClassVar[str] = "multiple"

    def __post_init__(self) -> None:
        require_size("building a rounding to multiples", self.of)

    def change(self, state: State, decision: Decision, observation: Observation) -> tuple[State, Decision]:
        count = (2 * decision.batch_size + self.of) // (2 * self.of)
        count = max(1, min(count, observation.epoch_samples // self.of))
        return state, self.resized(decision, count * self.of)


@dataclass(frozen=True)
class Hysteresis(Wrapper):
    """`+hysteresis:ratio=1.25`: the size changes only to one at least `ratio` times larger or smaller."""

    ratio: float = 1.25

    family: ClassVar[str] = "hysteresis"

    def __post_init__(self) -> None:
        require_above("building a hysteresis", "ratio", self.ratio, 1)

    def change(self, state: State, decision: Decision, observation: Observation) -> tuple[State, Decision]:
        held, wanted = state.get("size", decision.batch_size), decision.batch_size
        size = wanted if max(held, wanted) >= self.ratio * min(held, wanted) else held
        return {**state, "size": size}, self.resized(decision, size)


@dataclass(frozen=True)
class GrowthLimit(Wrapper):
    """`+growth-limit:factor=2.0,epochs=1.0`: at most `factor` up or down within each interval of `epochs`.

    Intervals are counted from the run's start; the size at the end of one is what the next is measured by.
    """

    factor: float = 2.0
    epochs: float = 1.0

    family: ClassVar[str] = "growth-limit"

    def __post_init__(self) -> None:
        require_above("building a growth limit", "factor", self.factor, 1)
        require_above("building a growth limit", "epochs", self.epochs, 1e-6)

    def change(self, state: State, decision: Decision, observation: Observation) -> tuple[State, Decision]:
        wanted = decision.batch_size
        interval = int(observation.progress // Fraction(self.epochs).limit_denominator(1_000_000))
        anchor = state.get("anchor", wanted)
        if interval != state.get("interval", interval):
            anchor = state["size"]
        low, high = (
            max(1, -int(-anchor // self.factor)),
            max(int(min(anchor * self.factor, observation.epoch_samples)), anchor + 1),
        )
        size = min(max(wanted, low), high)
        new = {**state, "anchor": anchor, "interval": interval, "size": size}
        return new, self.resized(decision, size)
