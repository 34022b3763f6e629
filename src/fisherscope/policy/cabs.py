"""CABS: batch size from learning rate, gradient variance and loss (Balles et al. 2017)."""

from dataclasses import dataclass
from typing import ClassVar

from fisherscope.policy.closed_loop import ClosedLoop, Parts, ratio


@dataclass(frozen=True)
class Cabs(ClosedLoop):
    """Set the size to lr·tr Σ/loss, `s32-cabs`: rounded, within [least, most].

    Variance and loss are smoothed.

    Derived for plain SGD and a loss whose smallest value is near 0. With a decaying learning rate the size
    falls at each level; the published method has a constant rate: `s32-cabs+constant`.

    Source: Balles, Romero & Hennig, UAI 2017, eq. 22 and algorithm 1.

    Args:
        batch_size: Batch size of the first batches, at least 2.
        rate: Learning-rate schedule.
        memory: Weight in [0, 1) of the previous measurements; 0 for none.
        least: Smallest size, at least 2.
        most: Largest size.

    Raises:
        ValueError: An argument is outside its range; from `update`: a row lacks a key.

    Example:
        ```python
        policy = fs.policy.parse("s32-cabs", lr=0.1, epochs=10)
        row = {"noise/variance": 640.0, "train/loss": 0.5, "batch_size": 32}
        _, decision = policy.update(policy.init(), fs.policy.Observation(0, 32, 1000, row))
        assert decision.batch_size == 128
        ```
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

    def target_size(self, parts: Parts, measured_samples: int, size: int, lr: float) -> float | None:
        """Return lr·tr Σ/loss, rounded and limited; see `ClosedLoop.target_size`."""
        target = ratio(lr * parts["variance"], parts["loss"])
        return None if target is None else min(max(round(target), self.least), self.most)
