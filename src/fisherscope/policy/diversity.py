"""Gradient diversity: the largest batch that costs no samples (Yin et al. 2018)."""

from dataclasses import dataclass
from typing import ClassVar

from fisherscope.policy.closed_loop import ClosedLoop, Parts, ratio
from fisherscope.policy.decision import require_above


@dataclass(frozen=True)
class Diversity(ClosedLoop):
    """Set the size to 1 + δ·N·Δ, `s32-diversity`, with N·Δ = E|g_i|²/|G|² over the whole data.

    It is estimated from batches by its unbiased parts, tr Σ + |G|² over |G|², smoothed before the ratio: the
    n·Δ of a batch of n could never ask for more than about n. So it equals 1 + δ·(1 + noise scale), and
    differs from the noise-scale policy only by a scale.

    Source: Yin, Pananjady, Lam, Papailiopoulos, Ramchandran & Bartlett, AISTATS 2018, theorem 3.

    Args:
        batch_size: Batch size of the first batches, at least 2.
        rate: Learning-rate schedule.
        memory: Weight in [0, 1) of the previous measurements; 0 for none.
        delta: Factor δ, above 0.

    Raises:
        ValueError: An argument is outside its range; from `update`: a row lacks a key.

    Example:
        ```python
        policy = fs.policy.parse("s32-diversity", lr=0.1, epochs=10)
        row = {"noise/variance": 62.0, "noise/signal": 1.0, "batch_size": 32}
        _, decision = policy.update(policy.init(), fs.policy.Observation(0, 32, 1000, row))
        assert decision.batch_size == 64
        ```
    """

    memory: float = 0.9
    delta: float = 1.0

    family: ClassVar[str] = "diversity"
    parts: ClassVar[tuple[str, ...]] = ("variance", "signal")

    def __post_init__(self) -> None:
        super().__post_init__()
        require_above("building a diversity policy", "delta", self.delta, 0)

    def target_size(self, parts: Parts, measured_samples: int, size: int, lr: float) -> float | None:
        """Return 1 + δ·E|g_i|²/|G|²; see `ClosedLoop.target_size`."""
        bound = ratio(parts["variance"] + parts["signal"], parts["signal"])
        return None if bound is None else 1 + self.delta * bound
