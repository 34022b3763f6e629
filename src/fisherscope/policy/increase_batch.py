"""Larger batches where a schedule would lower the learning rate (Smith et al. 2018)."""

from dataclasses import dataclass

from fisherscope.policy.decision import Decision, Observation, State, require_above
from fisherscope.policy.fixed import Fixed
from fisherscope.policy.options import option_suffix


@dataclass(frozen=True)
class Increase(Fixed):
    """Increase the batch size instead of decaying the learning rate, `s32-increase`.

    At each milestone the batch size is divided by the factor of the learning rate. It stops at `share` of the
    data; from there the learning rate falls instead, so that rate/size always equals that of the decaying
    schedule. Their scaling needs batches far below the data's size.

    Source: Smith, Kindermans, Ying & Le, "Don't decay the learning rate, increase the batch size", ICLR 2018.

    Args:
        batch_size: Batch size at the start, in samples.
        rate: Learning-rate schedule whose decays become increases.
        share: Largest batch as a share of the data, in (0, 1].

    Raises:
        ValueError: An argument is outside its range.

    Example:
        ```python
        policy = fs.policy.parse("s8-increase", lr=0.1, epochs=10)
        _, decision = policy.update(policy.init(), fs.policy.Observation(5, 0, 1000))
        assert (decision.batch_size, decision.lr) == (80, 0.1)
        ```
    """

    share: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_above("building an increase policy", "share", self.share, 0, 1)

    @property
    def name(self) -> str:
        """The name that `parse` reads; see `Policy.name`."""
        return f"s{self.batch_size}-increase{option_suffix(self, 2)}{self.rate.suffix}"

    def update(self, state: State, observation: Observation) -> tuple[State, Decision]:
        """Return the next state and the decision for the next batch; see `Policy.update`."""
        state, decision = super().update(state, observation)
        most = max(int(self.share * observation.epoch_samples), self.batch_size)
        size = min(round(self.batch_size * self.rate.lr / self.rate.before_warmup(observation)), most)
        gain = size / self.batch_size
        return state, Decision(size, decision.lr * size / self.batch_size, decision.reason, gain)
