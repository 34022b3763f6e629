"""The norm test: the gradient's error stays below its norm (Byrd et al. 2012)."""

from dataclasses import dataclass
from typing import ClassVar

from fisherscope.policy.closed_loop import ClosedLoop, Parts, ratio
from fisherscope.policy.decision import require_above


@dataclass(frozen=True)
class NormTest(ClosedLoop):
    """Grow to tr Σ̂/(θ²|ĝ|²) when the batch is smaller, `s32-norm-test`; the size never falls.

    Source: Byrd, Chin, Nocedal & Wu, Math. Program. 134, 2012, eq. 3.9 and 3.11.

    Args:
        batch_size: Batch size of the first batches, at least 2.
        rate: Learning-rate schedule.
        memory: Weight in [0, 1) of the previous measurements; 0 for none.
        theta: Threshold θ of error over norm, above 0.

    Raises:
        ValueError: An argument is outside its range; from `update`: a row lacks a key.

    Example:
        ```python
        policy = fs.policy.parse("s32-norm-test:theta=0.5", lr=0.1, epochs=10)
        row = {"noise/variance": 16.0, "gradient/norm": 1.0, "batch_size": 32}
        _, decision = policy.update(policy.init(), fs.policy.Observation(0, 32, 1000, row))
        assert decision.batch_size == 64
        ```
    """

    theta: float = 0.9

    family: ClassVar[str] = "norm-test"
    parts: ClassVar[tuple[str, ...]] = ("variance", "square")

    def __post_init__(self) -> None:
        super().__post_init__()
        require_above("building a norm-test policy", "theta", self.theta, 0)

    def target_size(self, parts: Parts, measured_samples: int, size: int, lr: float) -> float | None:
        """Return tr Σ̂/(θ²|ĝ|²), at least the size; see `ClosedLoop.target_size`."""
        target = ratio(parts["variance"], self.theta**2 * parts["square"])
        return None if target is None else max(target, size)
