"""CABS: the batch size coupled to learning rate, gradient variance and loss (Balles et al. 2017)."""

from dataclasses import dataclass
from typing import ClassVar

from fisherscope.policy.measured import Measured, Parts, ratio


@dataclass(frozen=True)
class Cabs(Measured):
    """`s32-cabs`: the size is lr·tr Σ/loss, rounded; numerator and loss smoothed over measurements.

    Made for plain SGD and a loss whose least value is near 0. With the decaying rate of the paper's runs the
    size falls with each level; as published the rate is constant and sizes lie in 16 … 2048:
    `s32-cabs+constant+bounds:min=16,max=2048`.

    Source: Balles, Romero & Hennig, UAI 2017, eq. 22 and algorithm 1.
    """

    memory: float = 0.95

    family: ClassVar[str] = "cabs"
    parts: ClassVar[tuple[str, ...]] = ("variance", "loss")

    def wants(self, parts: Parts, measured: int, size: int, lr: float) -> float | None:
        wanted = ratio(lr * parts["variance"], parts["loss"])
        return None if wanted is None else round(wanted)
