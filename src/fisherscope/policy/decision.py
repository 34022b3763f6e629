"""What a policy sees and says: Observation in, Decision out; and the rate schedule they share."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

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


@runtime_checkable
class Policy(Protocol):
    """A frozen value that chooses the batch size and learning rate of each batch from what it is told.

    `update` is called exactly once for each batch, in order, before its samples are drawn: a function of its
    arguments, without clock, files or random numbers. `name` and `parse` are inverse to each other.
    """

    @property
    def name(self) -> str:
        """The name that `parse` turns into this policy again, given its learning rate and epochs."""

    @property
    def closed_loop(self) -> bool:
        """Whether it reads measurements, so that it must be told of every step."""

    def init(self) -> State:
        """The state before the first batch."""

    def update(self, state: State, observation: Observation) -> tuple[State, Decision]:
        """The next state and the decision for the batch at `observation`."""


@dataclass(frozen=True)
class Rate:
    """The learning rate before any coupling: `lr`, multiplied by `factor` at each milestone.

    The default is the paper's: divided by ten at 50 % and 75 % of the epochs, exactly (in samples). A
    milestone inside an epoch holds from the first batch that starts at or after it. After `epochs` the last
    level goes on.

    Args:
        lr: Learning rate of the first level, positive.
        epochs: Length of the run.
        milestones: Increasing fractions of the run, between 0 and 1; empty for a constant rate.
        factor: What the rate is multiplied by at each, in (0, 1].

    Raises:
        ValueError: An argument is outside its range.
    """

    lr: float
    epochs: int
    milestones: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"building a learning-rate schedule: lr={self.lr!r} must be positive and finite")
        if self.epochs < 1:
            raise ValueError(f"building a learning-rate schedule: epochs={self.epochs!r} must be at least 1")
        edges = (0.0, *self.milestones, 1.0)
        if any(not a < b for a, b in pairwise(edges)):
            raise ValueError(
                f"building a learning-rate schedule: milestones={self.milestones!r} must increase "
                "within (0, 1); they are fractions of the run, not epochs"
            )
        if not 0 < self.factor <= 1:
            raise ValueError(f"building a learning-rate schedule: factor={self.factor!r} must be in (0, 1]")

    def level(self, observation: Observation) -> int:
        """Milestones passed, from 0."""
        return sum(observation.progress >= edge for edge in self.edges[1:-1])

    def at(self, observation: Observation) -> float:
        """The rate of the batch at `observation`."""
        return self.of_level(self.level(observation))

    def of_level(self, level: int) -> float:
        """The rate after `level` milestones; dividing keeps 0.1/10 at 0.01 where multiplying would not."""
        return self.lr / (1 / self.factor) ** level

    @property
    def edges(self) -> tuple[Fraction, ...]:
        """Where the levels begin, in epochs, and the end of the run."""
        inner = (Fraction(m).limit_denominator(1_000_000) * self.epochs for m in self.milestones)
        return (Fraction(0), *inner, Fraction(self.epochs))

    def within_level(self, observation: Observation) -> Fraction:
        """Share of the current level that is done, 0 at its first batch; 1 and above after the run's end."""
        level = self.level(observation)
        begin, end = self.edges[level], self.edges[level + 1]
        return (observation.progress - begin) / (end - begin)
