"""One batch size for the whole run, with the rate falling in levels: the paper's beacons."""

from dataclasses import dataclass

from fisherscope.policy.decision import Decision, Observation, State, checked_size
from fisherscope.policy.lr_schedule import Rate


@dataclass(frozen=True)
class Fixed:
    """A fixed batch size: `s32`, or `s32+constant` if the rate is constant too. Source: Liao et al. 2020."""

    batch_size: int
    rate: Rate
    closed_loop = False

    def __post_init__(self) -> None:
        checked_size("building a fixed policy", self.batch_size)

    @property
    def name(self) -> str:
        return f"s{self.batch_size}{self.rate.suffix}"

    def init(self) -> State:
        return {"level": 0}

    def update(self, state: State, observation: Observation) -> tuple[State, Decision]:
        level = self.rate.level(observation)
        reason = f"learning-rate level {level + 1}" if level != state["level"] else ""
        return {"level": level}, Decision(self.batch_size, self.rate.of_level(level), reason)
