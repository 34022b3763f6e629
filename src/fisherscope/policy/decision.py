"""What a policy sees and says: Observation in, Decision out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

State = dict[str, Any]
"""What a policy remembers: JSON values only, replaced by `update`, never changed in place."""


@dataclass(frozen=True)
class Observation:
    """The moment at which a batch is chosen: where it starts, and the newest measurement that may be used.

    Args:
        epoch: Epoch the batch belongs to, from 0.
        samples_in_epoch: Samples of this epoch in the batches before it.
        epoch_samples: Samples in an epoch (over all ranks).
        measurement: The monitor's row of the step that has just become visible, under its own keys; None if
            that step was not measured. Each row is seen once.
    """

    epoch: int
    samples_in_epoch: int
    epoch_samples: int
    measurement: Mapping[str, Any] | None = None

    @property
    def samples(self) -> int:
        """Samples in all the batches before this one."""
        return self.epoch * self.epoch_samples + self.samples_in_epoch

    @property
    def progress(self) -> Fraction:
        """Epochs done, exactly: 2.5 in the middle of the third epoch."""
        return Fraction(self.samples, self.epoch_samples)

    def value(self, key: str) -> float | None:
        """A measured number, or None if it was not measured, is not finite or is null."""
        number = (self.measurement or {}).get(key)
        return float(number) if isinstance(number, int | float) and math.isfinite(number) else None


@dataclass(frozen=True)
class Decision:
    """Batch size (samples over all ranks) and learning rate of the next batch, and why they changed."""

    batch_size: int
    lr: float
    reason: str = ""


def checked_size(doing: str, size: int, least: int = 1) -> int:
    """`size`, if it is a whole number of at least `least` samples; ValueError otherwise."""
    if isinstance(size, bool) or not isinstance(size, int) or size < least:
        raise ValueError(f"{doing}: batch size {size!r} must be a whole number of at least {least}")
    return size


def checked(doing: str, name: str, value: float, low: float, high: float = math.inf) -> float:
    """`value`, if it is finite and low < value <= high; ValueError otherwise."""
    if not (low < value <= high and math.isfinite(value)):
        most = f" and at most {high:g}" if math.isfinite(high) else " and finite"
        raise ValueError(f"{doing}: {name}={value!r} must be above {low:g}{most}")
    return value
