"""The paper's dynamic sampling: five stages from one batch size to another (`s32-to-512`)."""

from dataclasses import dataclass

from fisherscope.policy.decision import Decision, Observation, State, require_size
from fisherscope.policy.lr_schedule import Rate

STAGES = 5


def stage_sizes(first: int, last: int) -> tuple[int, ...]:
    """Return the five batch sizes from `first` to `last`.

    Stage i of a growing schedule of d doublings has size first · 2^⌊i·d/4⌋, which gives every row of the
    paper's list (d = 2: A A 2A 2A 4A; d = 4: A 2A 4A 8A 16A); a falling schedule is the reverse.

    Source: Liao et al. 2020, the dynamic-sampling schedules (docs/paper.md).

    Args:
        first: Batch size of the first stage, in samples.
        last: Batch size of the last stage, in samples.

    Returns:
        Five batch sizes.

    Raises:
        ValueError: The sizes are not a power of two apart.

    Example:
        ```python
        assert fs.policy.stage_sizes(32, 128) == (32, 32, 64, 64, 128)
        ```
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
    """Use five stages of equal length over the run (-∅) or each learning-rate level (-MS).

    Stages are exact, in samples: a stage whose start lies inside an epoch begins with the first batch that
    starts at or after that point, so no stage is lost in a short run. After the run's end the last stage
    continues.

    Source: Liao et al. 2020, dynamic sampling (docs/paper.md).

    Args:
        first: Batch size of the first stage, in samples.
        last: Batch size of the last stage, a power of two apart.
        rate: Learning-rate schedule.
        restart: Run through the stages again in each learning-rate level (-MS).

    Raises:
        ValueError: A size is not a whole number of at least 1, or they are not a power of two apart.

    Example:
        ```python
        policy = fs.policy.parse("s32-to-512-MS", lr=0.1, epochs=40)
        assert policy.sizes == (32, 64, 128, 256, 512) and policy.restart
        ```
    """

    first: int
    last: int
    rate: Rate
    restart: bool = False
    closed_loop = False

    def __post_init__(self) -> None:
        require_size("building a staged policy", self.first)
        require_size("building a staged policy", self.last)
        stage_sizes(self.first, self.last)

    @property
    def name(self) -> str:
        """The name that `parse` reads; see `Policy.name`."""
        return f"s{self.first}-to-{self.last}" + ("-MS" if self.restart else "") + self.rate.suffix

    @property
    def sizes(self) -> tuple[int, ...]:
        """The batch size of each stage."""
        return stage_sizes(self.first, self.last)

    def init(self) -> State:
        """Return the state before the first batch; see `Policy.init`."""
        return {"level": 0, "stage": 0}

    def update(self, state: State, observation: Observation) -> tuple[State, Decision]:
        """Return the next state and the decision for the next batch; see `Policy.update`."""
        level = self.rate.level(observation)
        share = (
            self.rate.within_level(observation) if self.restart else observation.progress / self.rate.epochs
        )
        stage = min(int(share * STAGES), STAGES - 1)
        new: State = {"level": level, "stage": stage}
        reason = f"stage {stage + 1} of {STAGES}, learning-rate level {level + 1}" if new != state else ""
        return new, Decision(self.sizes[stage], self.rate.at(observation), reason)
