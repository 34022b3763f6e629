"""Gradient diversity: the largest batch that costs no samples (Yin et al. 2018)."""

from dataclasses import dataclass
from typing import ClassVar

from fisherscope.policy.closed_loop import ClosedLoop, Parts, ratio
from fisherscope.policy.decision import require_above


@dataclass(frozen=True)
class Diversity(ClosedLoop):
    """`s32-diversity`: the size is 1 + δ·N·Δ, with N·Δ = E|g_i|²/|G|² over the whole data.

    Estimated from batches by its unbiased parts, tr Σ + |G|² over |G|², smoothed before the ratio: a batch's
    own n·Δ could never ask for more than about n. So it is 1 + δ·(1 + noise scale): the two differ in scale.
    Source: Yin, Pananjady, Lam, Papailiopoulos, Ramchandran & Bartlett, AISTATS 2018, theorem 3.
    """

    memory: float = 0.9
    delta: float = 1.0

    family: ClassVar[str] = "diversity"
    parts: ClassVar[tuple[str, ...]] = ("variance", "signal")

    def __post_init__(self) -> None:
        super().__post_init__()
        require_above("building a diversity policy", "delta", self.delta, 0)

    def wants(self, parts: Parts, measured: int, size: int, lr: float) -> float | None:
        bound = ratio(parts["variance"] + parts["signal"], parts["signal"])
        return None if bound is None else 1 + self.delta * bound
