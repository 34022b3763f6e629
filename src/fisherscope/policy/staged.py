"""The paper's dynamic sampling: five stages from one batch size to another (`s32-to-512`)."""

from dataclasses import dataclass

from fisherscope.policy.decision import Decision, Observation, State, checked_size
from fisherscope.policy.lr_schedule import Rate

STAGES = 5


def stage_sizes(first: int, last: int) -> tuple[int, ...]:
    """The five batch sizes from `first` to `last`.

    Stage i of a growing schedule of d doublings has size first · 2^⌊i·d/4⌋, which gives every row of the
    paper's list (d = 2: A A 2A 2A 4A; d = 4: A 2A 4A 8A 16A); a falling one is the reverse of its growing
    twin.

    Raises:
        ValueError: The sizes are not a power of two apart.
    """
    small, large = sorted((first, last))
    doublings = (large // small).bit_length() - 1
    if small << doublings != large:
        raise ValueError(
            f"building the stages of s{first}-to-{last}: {large} is not {small} times a power of two; "
            f"the next ones that are: {small << doublings} and {small << (doublings + 1)}"
        )
    growing = tuple(small << (stage * doublings // (STAGES - 1)) for stage in range(STAGES))
    return growing if first <= last else growing[::-1]


@dataclass(frozen=True)
class Staged:
    """Five stages of equal length over the run (-∅), or within each learning-rate level (-MS, `restart`).

    Equal to the sample: a stage that should begin inside an epoch (its length divided by five is not whole)
    begins with the first batch that starts at or after that point, so no stage is lost in a short run. After
    the run's end the last stage goes on. Source: Liao et al. 2020, dynamic sampling.
    """

    first: int
    last: int
    rate: Rate
    restart: bool = False
    closed_loop = False

    def __post_init__(self) -> None:
        checked_size("building a staged policy", self.first)
        checked_size("building a staged policy", self.last)
        stage_sizes(self.first, self.last)

    @property
    def name(self) -> str:
        return f"s{self.first}-to-{self.last}" + ("-MS" if self.restart else "") + self.rate.suffix

    @property
    def sizes(self) -> tuple[int, ...]:
        """The batch size of each stage."""
        return stage_sizes(self.first, self.last)

    def init(self) -> State:
        return {"level": 0, "stage": 0}

    def update(self, state: State, observation: Observation) -> tuple[State, Decision]:
        level = self.rate.level(observation)
        share = (
            self.rate.within_level(observation) if self.restart else observation.progress / self.rate.epochs
        )
        stage = min(int(share * STAGES), STAGES - 1)
        new: State = {"level": level, "stage": stage}
        reason = f"stage {stage + 1} of {STAGES}, learning-rate level {level + 1}" if new != state else ""
        return new, Decision(self.sizes[stage], self.rate.of_level(level), reason)
