"""What a policy receives and returns: Observation in, Decision out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

State = dict[str, Any]
"""The memory of a policy: JSON values only, replaced by `update`, never changed in place."""


@dataclass(frozen=True)
class Observation:
    """Describe the moment at which a batch is chosen, and the newest usable measurement.

    Args:
        epoch: Epoch the batch belongs to, from 0.
        samples_in_epoch: Samples of this epoch in the batches before it.
        epoch_samples: Samples in an epoch (over all ranks).
        measurement: The monitor's row of the step that has just become visible, under its own keys; None if
            that step was not measured. Each row is passed once.

    Example:
        ```python
        moment = fs.policy.Observation(epoch=2, samples_in_epoch=50, epoch_samples=100)
        assert moment.samples == 250 and float(moment.progress) == 2.5
        ```
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
        """Completed epochs, exactly: 2.5 in the middle of the third epoch."""
        return Fraction(self.samples, self.epoch_samples)

    def value(self, key: str) -> float | None:
        """Return a measured number.

        Args:
            key: A key of the monitor's rows.

        Returns:
            The number; None if it was not measured, is null or is not finite.

        Example:
            ```python
            row = {"noise/scale": 40.0, "fisher/cond": None}
            moment = fs.policy.Observation(0, 0, 100, row)
            assert moment.value("noise/scale") == 40.0 and moment.value("fisher/cond") is None
            ```
        """
        number = (self.measurement or {}).get(key)
        return float(number) if isinstance(number, int | float) and math.isfinite(number) else None


@dataclass(frozen=True)
class Decision:
    """Hold the batch size and the learning rate of the next batch, and why they changed.

    Args:
        batch_size: Samples over all ranks.
        lr: Learning rate of the first parameter group.
        reason: A sentence if something changed, otherwise empty.
        gain: What `lr` was multiplied by because of the batch size; a schedule of the user's own is
            multiplied by it (`attach(…, lr="couple")`).
        beta1_power: Power of an Adam-like optimizer's first beta for this batch; 1 leaves it alone.
        beta2_power: Power of its second beta.

    Example:
        ```python
        policy = fs.policy.parse("s32", lr=0.1, epochs=10)
        _, decision = policy.update(policy.init(), fs.policy.Observation(0, 0, 1000))
        assert decision == fs.policy.Decision(32, 0.1)
        ```
    """

    batch_size: int
    lr: float
    reason: str = ""
    gain: float = 1.0
    beta1_power: float = 1.0
    beta2_power: float = 1.0


def require_size(doing: str, size: int, least: int = 1) -> int:
    """Return `size` if it is a whole number of at least `least` samples.

    Raises:
        ValueError: It is not.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < least:
        raise ValueError(f"{doing}: batch size {size!r} must be a whole number of at least {least}")
    return size


def require_above(doing: str, name: str, value: float, low: float, high: float = math.inf) -> float:
    """Return `value` if it is finite and low < value <= high.

    Raises:
        ValueError: It is not.
    """
    if not (low < value <= high and math.isfinite(value)):
        limit = f" and at most {high:g}" if math.isfinite(high) else " and finite"
        raise ValueError(f"{doing}: {name}={value!r} must be above {low:g}{limit}")
    return value
