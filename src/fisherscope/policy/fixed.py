"""One batch size for the whole run, with the rate constant or falling in levels: the paper's beacons."""

from dataclasses import dataclass

from fisherscope.policy.decision import Decision, Observation, Rate, State


def checked_size(doing: str, size: int) -> int:
    """`size`, if it is a positive whole number."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"{doing}: batch size {size!r} must be a whole number of at least 1")
    return size


@dataclass(frozen=True)
class Fixed:
    """A fixed batch size: `s32` (rate in levels, PAPER.md 4) or `s32-constant` (no milestones)."""

    batch_size: int
    rate: Rate
    closed_loop = False

    def __post_init__(self) -> None:
        checked_size("building a fixed policy", self.batch_size)

    @property
    def name(self) -> str:
        return f"s{self.batch_size}" + ("" if self.rate.milestones else "-constant")

    def init(self) -> State:
        return {"level": 0}

    def update(self, state: State, observation: Observation) -> tuple[State, Decision]:
        level = self.rate.level(observation)
        reason = f"learning-rate level {level + 1}" if level != state["level"] else ""
        return {"level": level}, Decision(self.batch_size, self.rate.of_level(level), reason)
