"""The gradient noise scale as batch size (McCandlish et al. 2018)."""

from dataclasses import dataclass
from typing import ClassVar

from fisherscope.policy.closed_loop import ClosedLoop, Parts, ratio
from fisherscope.policy.decision import require_above


@dataclass(frozen=True)
class NoiseScale(ClosedLoop):
    """Set the size to `factor` times the noise scale tr Σ/|G|², `s32-noise-scale`.

    Numerator and denominator are unbiased, and smoothed before the ratio. The noise scale balances time and
    samples. If the smoothed estimate of |G|² is not positive, the gradient is lost in the noise of the batch,
    and the size is kept.

    Source: McCandlish, Kaplan & Amodei, "An empirical model of large-batch training", 2018, eq. 2.9 and
    appendix A.1.

    Args:
        batch_size: Batch size of the first batches, at least 2.
        rate: Learning-rate schedule.
        memory: Weight in [0, 1) of the previous measurements; 0 for none.
        factor: Batch size over noise scale, above 0.

    Raises:
        ValueError: An argument is outside its range; from `update`: a row lacks a key.

    Example:
        ```python
        policy = fs.policy.parse("s32-noise-scale", lr=0.1, epochs=10)
        row = {"noise/variance": 40.0, "noise/signal": 0.5, "batch_size": 32}
        _, decision = policy.update(policy.init(), fs.policy.Observation(0, 32, 1000, row))
        assert decision.batch_size == 80
        ```
    """

    memory: float = 0.9
    factor: float = 1.0

    family: ClassVar[str] = "noise-scale"
    parts: ClassVar[tuple[str, ...]] = ("variance", "signal")

    def __post_init__(self) -> None:
        super().__post_init__()
        require_above("building a noise-scale policy", "factor", self.factor, 0)

    def target_size(self, parts: Parts, measured_samples: int, size: int, lr: float) -> float | None:
        """Return `factor` times the noise scale; see `ClosedLoop.target_size`."""
        return ratio(self.factor * parts["variance"], parts["signal"])
