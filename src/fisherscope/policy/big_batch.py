"""Big Batch SGD: the batch grows when noise outweighs the gradient (De et al. 2017)."""

from dataclasses import dataclass
from typing import ClassVar

from fisherscope.policy.closed_loop import ClosedLoop, Parts
from fisherscope.policy.decision import require_above


@dataclass(frozen=True)
class BigBatch(ClosedLoop):
    """Grow by a factor while tr Σ̂/n ≥ θ²|ĝ|², `s32-big-batch`; the size never falls.

    Departs from the source in one thing: there the current batch is enlarged until it passes, here the next
    batches are, one step per measurement. A row of a batch from before the last change is not used. The
    learning rate is the schedule's (their fixed-rate variant).

    Source: De, Yadav, Jacobs & Goldstein, AISTATS 2017, algorithm 1.

    Args:
        batch_size: Batch size of the first batches, at least 2.
        rate: Learning-rate schedule.
        memory: Weight in [0, 1) of the previous measurements; 0 for none.
        theta: Threshold θ in (0, 1].
        growth: Growth per step as a share of the size, above 0.

    Raises:
        ValueError: An argument is outside its range; from `update`: a row lacks a key.

    Example:
        ```python
        policy = fs.policy.parse("s32-big-batch", lr=0.1, epochs=10)
        row = {"noise/variance": 64.0, "gradient/norm": 1.0, "batch_size": 32}
        _, decision = policy.update(policy.init(), fs.policy.Observation(0, 32, 1000, row))
        assert decision.batch_size == 36
        ```
    """

    theta: float = 1.0
    growth: float = 0.1

    family: ClassVar[str] = "big-batch"
    parts: ClassVar[tuple[str, ...]] = ("variance", "square")

    def __post_init__(self) -> None:
        super().__post_init__()
        require_above("building a big-batch policy", "theta", self.theta, 0, 1)
        require_above("building a big-batch policy", "growth", self.growth, 0)

    def target_size(self, parts: Parts, measured_samples: int, size: int, lr: float) -> float | None:
        """Return the size, grown by `growth` if noise outweighs the gradient (see `ClosedLoop`)."""
        if parts["square"] <= 0:
            return None
        noisy = parts["variance"] / measured_samples >= self.theta**2 * parts["square"]
        return size * (1 + self.growth) if noisy and measured_samples >= size else size
