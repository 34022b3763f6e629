"""A fixed batch size with decaying learning rate: the runs that the paper calls beacons."""

from dataclasses import dataclass

from fisherscope.policy.decision import Decision, Observation, State, require_size
from fisherscope.policy.lr_schedule import Rate


@dataclass(frozen=True)
class Fixed:
    """Keep one batch size for the whole run: `s32` (`s32+constant`: and one learning rate).

    Source: Liao et al. 2020, the fixed settings `s32-lr0.1` of their grid (docs/paper.md).

    Args:
        batch_size: Batch size in samples.
        rate: Learning-rate schedule.

    Raises:
        ValueError: The batch size is not a whole number of at least 1.

    Example:
        ```python
        policy = fs.policy.Fixed(32, fs.policy.Rate(0.1, epochs=40))
        assert policy.name == "s32"
        ```
    """

    batch_size: int
    rate: Rate
    closed_loop = False

    def __post_init__(self) -> None:
        require_size("building a fixed policy", self.batch_size)

    @property
    def name(self) -> str:
        """The name that `parse` reads; see `Policy.name`."""
        return f"s{self.batch_size}{self.rate.suffix}"

    def init(self) -> State:
        """Return the state before the first batch; see `Policy.init`."""
        return {"level": 0}

    def update(self, state: State, observation: Observation) -> tuple[State, Decision]:
        """Return the next state and the decision for the next batch; see `Policy.update`."""
        level = self.rate.level(observation)
        reason = f"learning-rate level {level + 1}" if level != state["level"] else ""
        return {"level": level}, Decision(self.batch_size, self.rate.at(observation), reason)
