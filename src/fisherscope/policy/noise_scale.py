"""The gradient noise scale as batch size: where time and samples are in balance (McCandlish et al. 2018)."""

from dataclasses import dataclass
from typing import ClassVar

from fisherscope.policy.closed_loop import ClosedLoop, Parts, ratio
from fisherscope.policy.decision import require_above


@dataclass(frozen=True)
class NoiseScale(ClosedLoop):
    """`s32-noise-scale`: the size is `factor`·tr Σ/|G|², both unbiased and smoothed before the ratio.

    Where the smoothed estimate of |G|² is not positive, the batch is too small to see the gradient, and the
    size is kept. Source: McCandlish, Kaplan & Amodei, "An empirical model of large-batch training", 2018,
    eq. 2.9 and appendix A.1.
    """

    memory: float = 0.9
    factor: float = 1.0

    family: ClassVar[str] = "noise-scale"
    parts: ClassVar[tuple[str, ...]] = ("variance", "signal")

    def __post_init__(self) -> None:
        super().__post_init__()
        require_above("building a noise-scale policy", "factor", self.factor, 0)

    def wants(self, parts: Parts, measured: int, size: int, lr: float) -> float | None:
        return ratio(self.factor * parts["variance"], parts["signal"])
