"""Batches that grow by a constant factor, one to the next (Friedlander & Schmidt 2012)."""

from dataclasses import dataclass

from fisherscope.policy.decision import Decision, Observation, State, require_above
from fisherscope.policy.fixed import Fixed
from fisherscope.policy.options import option_suffix


@dataclass(frozen=True)
class Growth(Fixed):
    """Grow each batch to `factor` times the one before, `s32-growth`, up to the whole data.

    Counted in samples, as every schedule here: of batches b, γb, γ²b, … the first k hold b(γᵏ − 1)/(γ − 1)
    samples, so the batch that starts after T samples has ⌊b + (γ − 1)·T⌋. With the default factor the whole
    data is one batch after about ten epochs, whatever its size.

    Source: Friedlander & Schmidt, SIAM J. Sci. Comput. 34(3), 2012 (factor 1.1).

    Args:
        batch_size: Batch size at the start, in samples.
        rate: Learning-rate schedule.
        factor: Growth from one batch to the next, above 1.

    Raises:
        ValueError: An argument is outside its range.

    Example:
        ```python
        policy = fs.policy.parse("s32-growth", lr=0.1, epochs=10)
        _, decision = policy.update(policy.init(), fs.policy.Observation(0, 320, 1000))
        assert decision.batch_size == 64
        ```
    """

    factor: float = 1.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_above("building a growth policy", "factor", self.factor, 1)

    @property
    def name(self) -> str:
        """The name that `parse` reads; see `Policy.name`."""
        return f"s{self.batch_size}-growth{option_suffix(self, 2)}{self.rate.suffix}"

    def update(self, state: State, observation: Observation) -> tuple[State, Decision]:
        """Return the next state and the decision for the next batch; see `Policy.update`."""
        state, decision = super().update(state, observation)
        target = self.batch_size + (self.factor - 1) * observation.samples
        size = max(self.batch_size, int(min(target, observation.epoch_samples)))
        return state, Decision(size, decision.lr, decision.reason)
