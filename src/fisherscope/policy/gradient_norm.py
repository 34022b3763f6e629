"""The norm test: enough samples for the gradient's error to stay below its norm (Byrd et al. 2012)."""

from dataclasses import dataclass
from typing import ClassVar

from fisherscope.policy.closed_loop import ClosedLoop, Parts, ratio
from fisherscope.policy.decision import require_above


@dataclass(frozen=True)
class NormTest(ClosedLoop):
    """`s32-norm-test`: where tr Σ̂/n > θ²|ĝ|², the size becomes tr Σ̂/(θ²|ĝ|²); it never falls.

    Source: Byrd, Chin, Nocedal & Wu, Math. Program. 134, 2012, eq. 3.9 and 3.11.
    """

    theta: float = 0.9

    family: ClassVar[str] = "norm-test"
    parts: ClassVar[tuple[str, ...]] = ("variance", "square")

    def __post_init__(self) -> None:
        super().__post_init__()
        require_above("building a norm-test policy", "theta", self.theta, 0)

    def wants(self, parts: Parts, measured: int, size: int, lr: float) -> float | None:
        needed = ratio(parts["variance"], self.theta**2 * parts["square"])
        return None if needed is None else max(needed, size)
