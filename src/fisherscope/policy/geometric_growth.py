"""Batches that grow by a constant factor from one to the next (Friedlander & Schmidt 2012)."""

from dataclasses import dataclass

from fisherscope.policy.decision import Decision, Observation, State, checked
from fisherscope.policy.fixed import Fixed
from fisherscope.policy.options import option_suffix


@dataclass(frozen=True)
class Growth(Fixed):
    """Geometric growth, `s32-growth`: each batch `factor` times the one before, up to the whole data.

    Counted in samples, as every schedule here: batches b, γb, γ²b, … of which the first k hold
    b(γᵏ − 1)/(γ − 1) samples, so that the batch that starts after T samples has ⌊b + (γ − 1)·T⌋. By the
    default the whole data is one batch after about ten epochs, whatever its size. Source: Friedlander &
    Schmidt, SIAM J. Sci. Comput. 34(3), 2012 (factor 1.1).
    """

    factor: float = 1.1

    def __post_init__(self) -> None:
        super().__post_init__()
        checked("building a growth policy", "factor", self.factor, 1)

    @property
    def name(self) -> str:
        return f"s{self.batch_size}-growth{option_suffix(self, 2)}{self.rate.suffix}"

    def update(self, state: State, observation: Observation) -> tuple[State, Decision]:
        state, decision = super().update(state, observation)
        grown = self.batch_size + (self.factor - 1) * observation.samples
        size = max(self.batch_size, int(min(grown, observation.epoch_samples)))
        return state, Decision(size, decision.lr, decision.reason)
