"""Larger batches where a schedule would lower the learning rate (Smith et al. 2018)."""

from dataclasses import dataclass

from fisherscope.policy.decision import Decision, Observation, State, checked
from fisherscope.policy.fixed import Fixed
from fisherscope.policy.options import option_suffix


@dataclass(frozen=True)
class Increase(Fixed):
    """Increase instead of decay, `s32-increase`: at each milestone the batch is divided by the rate's factor.

    The size stops at `share` of the data; what it could not rise by, the rate falls by, so that rate/size is
    that of the decaying schedule at every moment. Source: Smith, Kindermans, Ying & Le, "Don't decay the
    learning rate, increase the batch size", ICLR 2018; their scaling needs batches far below the data's size.
    """

    share: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        checked("building an increase policy", "share", self.share, 0, 1)

    @property
    def name(self) -> str:
        return f"s{self.batch_size}-increase{option_suffix(self, 2)}{self.rate.suffix}"

    def update(self, state: State, observation: Observation) -> tuple[State, Decision]:
        state, decision = super().update(state, observation)
        most = max(int(self.share * observation.epoch_samples), self.batch_size)
        size = min(round(self.batch_size * self.rate.lr / decision.lr), most)
        return state, Decision(size, decision.lr * size / self.batch_size, decision.reason)
