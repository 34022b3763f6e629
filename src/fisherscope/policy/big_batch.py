"""Big Batch SGD: the batch grows by a step whenever noise outweighs the gradient (De et al. 2017)."""

from dataclasses import dataclass
from typing import ClassVar

from fisherscope.policy.closed_loop import ClosedLoop, Parts
from fisherscope.policy.decision import require_above


@dataclass(frozen=True)
class BigBatch(ClosedLoop):
    """`s32-big-batch`: where tr Σ̂/n ≥ θ²|ĝ|², the size grows by `growth` of itself; it never falls.

    Departs from the source in one thing: there the batch at hand is enlarged until it passes, here the
    batches to come are, one step a measurement. A row of a batch from before the last change is not used. The
    rate is the schedule's (their fixed-rate variant).

    Source: De, Yadav, Jacobs & Goldstein, AISTATS 2017, algorithm 1.
    """

    theta: float = 1.0
    growth: float = 0.1

    family: ClassVar[str] = "big-batch"
    parts: ClassVar[tuple[str, ...]] = ("variance", "square")

    def __post_init__(self) -> None:
        super().__post_init__()
        require_above("building a big-batch policy", "theta", self.theta, 0, 1)
        require_above("building a big-batch policy", "growth", self.growth, 0)

    def wants(self, parts: Parts, measured: int, size: int, lr: float) -> float | None:
        if parts["square"] <= 0:
            return None
        noisy = parts["variance"] / measured >= self.theta**2 * parts["square"]
        return size * (1 + self.growth) if noisy and measured >= size else size
