"""Wrappers that limit a policy's batch size: bounds, multiples, hysteresis, growth."""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar

from fisherscope.policy.decision import Decision, Observation, State, require_above, require_size
from fisherscope.policy.lr_schedule import Rate
from fisherscope.policy.options import option_suffix
from fisherscope.policy.protocol import Policy


@dataclass(frozen=True)
class Wrapper:
    """Change the decisions of another policy; written behind it: `s32-cabs+bounds:max=512`.

    From left to right is from the inside out: in `…+multiple:of=8+bounds:max=500` bounds are applied last.

    Args:
        policy: The policy whose decisions are changed.
    """

    policy: Policy
    family: ClassVar[str]

    @property
    def name(self) -> str:
        """The name that `parse` reads; see `Policy.name`."""
        return f"{self.policy.name}+{self.family}{option_suffix(self, 1)}"

    @property
    def rate(self) -> Rate:
        """The learning-rate schedule of the inner policy."""
        return self.policy.rate

    @property
    def closed_loop(self) -> bool:
        """Whether the inner policy reads measurements."""
        return self.policy.closed_loop

    def init(self) -> State:
        """Return the state before the first batch; see `Policy.init`."""
        return {"inner": self.policy.init()}

    def update(self, state: State, observation: Observation) -> tuple[State, Decision]:
        """Return the next state and the decision for the next batch; see `Policy.update`."""
        inner, decision = self.policy.update(state["inner"], observation)
        new, decision = self.change({**state, "inner": inner}, decision, observation)
        return new, decision

    def change(self, state: State, decision: Decision, observation: Observation) -> tuple[State, Decision]:
        """Return the wrapper's new state and its decision.

        Args:
            state: The wrapper's state, with the inner policy's new state under "inner".
            decision: The inner policy's decision.
            observation: The moment.

        Returns:
            The new state, and the changed decision.
        """
        raise NotImplementedError

    def replace_size(self, decision: Decision, size: int) -> Decision:
        """Return the decision with another size, which is added to its reason if it has one."""
        note = f"; {size} by {self.family}" if decision.reason and size != decision.batch_size else ""
        return replace(decision, batch_size=size, reason=decision.reason + note)


@dataclass(frozen=True)
class Bounds(Wrapper):
    """Move batch sizes outside the bounds to the nearer one, `+bounds:min=8,max=512`.

    Args:
        policy: The policy whose sizes are limited.
        min: Smallest size, at least 1.
        max: Largest size; None for no upper bound.

    Raises:
        ValueError: The bounds contradict each other, or exclude sizes that the policy plans with.

    Example:
        ```python
        policy = fs.policy.parse("s32-to-512+bounds:max=128", lr=0.1, epochs=5)
        _, last = policy.update(policy.init(), fs.policy.Observation(4, 0, 1000))
        assert last.batch_size == 128
        ```
    """

    min: int = 1
    max: int | None = None

    family: ClassVar[str] = "bounds"

    def __post_init__(self) -> None:
        require_size("building bounds", self.min)
        if self.max is not None and require_size("building bounds", self.max) < self.min:
            raise ValueError(f"building bounds: max={self.max} lies below min={self.min}; exchange them")
        sizes = getattr(self.policy, "planned_sizes", ())
        excluded = [size for size in sizes if size < self.min or (self.max is not None and size > self.max)]
        if excluded:
            raise ValueError(
                f"building bounds around {self.policy.name}: it plans with sizes "
                f"{', '.join(map(str, excluded))} too, so its forecasts would be wrong; make its file for "
                "fewer sizes: fisherscope beacons --sizes …"
            )

    def change(self, state: State, decision: Decision, observation: Observation) -> tuple[State, Decision]:
        """Return the state, and the decision with the limited size; see `Wrapper.change`."""
        size = max(decision.batch_size, self.min)
        return state, self.replace_size(decision, size if self.max is None else min(size, self.max))


@dataclass(frozen=True)
class Multiple(Wrapper):
    """Round the batch size to the nearest multiple, within the data, `+multiple:of=8`.

    Args:
        policy: The policy whose sizes are rounded.
        of: Divisor in samples, at least 1.

    Raises:
        ValueError: `of` is not a whole number of at least 1.

    Example:
        ```python
        policy = fs.policy.parse("s30+multiple:of=8", lr=0.1, epochs=5)
        _, decision = policy.update(policy.init(), fs.policy.Observation(0, 0, 1000))
        assert decision.batch_size == 32
        ```
    """

    of: int

    family: ClassVar[str] = "multiple"

    def __post_init__(self) -> None:
        require_size("building a rounding to multiples", self.of)

    def change(self, state: State, decision: Decision, observation: Observation) -> tuple[State, Decision]:
        """Return the state, and the decision with the rounded size; see `Wrapper.change`."""
        count = (2 * decision.batch_size + self.of) // (2 * self.of)
        count = max(1, min(count, observation.epoch_samples // self.of))
        return state, self.replace_size(decision, count * self.of)


@dataclass(frozen=True)
class Hysteresis(Wrapper):
    """Skip small changes of the batch size, `+hysteresis:ratio=1.25`.

    Args:
        policy: The policy whose sizes are followed.
        ratio: Smallest ratio of new and old size, either way, at which the size changes; above 1.

    Raises:
        ValueError: `ratio` is not above 1.

    Example:
        ```python
        policy = fs.policy.parse("s100-growth:factor=1.01+hysteresis", lr=0.1, epochs=5)
        state, _ = policy.update(policy.init(), fs.policy.Observation(0, 0, 9000))
        state, decision = policy.update(state, fs.policy.Observation(0, 2000, 9000))
        assert decision.batch_size == 100  # 120 is less than a quarter more
        ```
    """

    ratio: float = 1.25

    family: ClassVar[str] = "hysteresis"

    def __post_init__(self) -> None:
        require_above("building a hysteresis", "ratio", self.ratio, 1)

    def change(self, state: State, decision: Decision, observation: Observation) -> tuple[State, Decision]:
        """Return the new state, and the decision with the followed size; see `Wrapper.change`."""
        current, target = state.get("size", decision.batch_size), decision.batch_size
        size = target if max(current, target) >= self.ratio * min(current, target) else current
        return {**state, "size": size}, self.replace_size(decision, size)


@dataclass(frozen=True)
class GrowthLimit(Wrapper):
    """Limit how fast the batch size changes, `+growth-limit:factor=2.0,epochs=1.0`.

    Intervals are counted from the start of the run; the size at the end of one is the reference of the next.

    Args:
        policy: The policy whose changes are limited.
        factor: Largest change within an interval, up or down, as a ratio above 1.
        epochs: Length of an interval in epochs, above 1e-6.

    Raises:
        ValueError: An argument is outside its range.

    Example:
        ```python
        policy = fs.policy.parse("s32-increase+growth-limit", lr=0.1, epochs=4)
        state, _ = policy.update(policy.init(), fs.policy.Observation(0, 0, 5000))
        _, decision = policy.update(state, fs.policy.Observation(2, 0, 5000))
        assert decision.batch_size == 64  # 320 would be ten times as large
        ```
    """

    factor: float = 2.0
    epochs: float = 1.0

    family: ClassVar[str] = "growth-limit"

    def __post_init__(self) -> None:
        require_above("building a growth limit", "factor", self.factor, 1)
        require_above("building a growth limit", "epochs", self.epochs, 1e-6)

    def change(self, state: State, decision: Decision, observation: Observation) -> tuple[State, Decision]:
        """Return the new state, and the decision with the limited size; see `Wrapper.change`."""
        target = decision.batch_size
        interval = int(observation.progress // Fraction(self.epochs).limit_denominator(1_000_000))
        anchor = state.get("anchor", target)
        if interval != state.get("interval", interval):
            anchor = state["size"]
        low, high = (
            max(1, -int(-anchor // self.factor)),
            max(int(min(anchor * self.factor, observation.epoch_samples)), anchor + 1),
        )
        size = min(max(target, low), high)
        new = {**state, "anchor": anchor, "interval": interval, "size": size}
        return new, self.replace_size(decision, size)
