"""CABS: the batch size coupled to learning rate, gradient variance and loss (Balles et al. 2017)."""

from dataclasses import dataclass
from typing import ClassVar

from fisherscope.policy.closed_loop import ClosedLoop, Parts, ratio


@dataclass(frozen=True)
class Cabs(ClosedLoop):
    """`s32-cabs`: the size is lr·tr Σ/loss, rounded, within [least, most]; variance and loss smoothed.

    Made for plain SGD and a loss whose least value is near 0. With decaying rates the size falls with each
    level; as published the rate is constant: `s32-cabs+constant`.

    Source: Balles, Romero & Hennig, UAI 2017, eq. 22 and algorithm 1.
    """

    memory: float = 0.95
    least: int = 16
    most: int = 2048

    family: ClassVar[str] = "cabs"
    parts: ClassVar[tuple[str, ...]] = ("variance", "loss")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.least <= self.most:
            raise ValueError(f"building a cabs policy: expected 2 <= least={self.least} <= most={self.most}")

    def wants(self, parts: Parts, measured: int, size: int, lr: float) -> float | None:
        wanted = ratio(lr * parts["variance"], parts["loss"])
        return None if wanted is None else min(max(round(wanted), self.least), self.most)
