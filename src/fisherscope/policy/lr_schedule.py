"""The learning-rate levels under every policy; by default ÷10 at 50 % and 75 %."""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise

from fisherscope.policy.decision import Observation


@dataclass(frozen=True)
class Rate:
    """Schedule the learning rate: `lr`, multiplied by `factor` at each milestone.

    A milestone inside an epoch takes effect with the first batch that starts at or after it; milestones are
    exact, in samples. After `epochs` the last level continues.

    Source: Liao et al. 2020 for the default, ÷10 at 50 % and 75 % of the epochs (docs/paper.md).

    Args:
        lr: Learning rate of the first level, positive.
        epochs: Length of the run.
        milestones: Increasing fractions of the run, between 0 and 1; empty for a constant rate.
        factor: Factor of the learning rate at each milestone, in (0, 1].

    Raises:
        ValueError: An argument is outside its range.

    Example:
        ```python
        rate = fs.policy.Rate(0.1, epochs=40)
        assert [rate.of_level(level) for level in range(3)] == [0.1, 0.01, 0.001]
        ```
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
        """Return how many milestones have passed.

        Args:
            observation: The moment.

        Returns:
            The level, from 0.

        Example:
            ```python
            rate = fs.policy.Rate(0.1, epochs=4)
            assert rate.level(fs.policy.Observation(2, 0, 100)) == 1
            ```
        """
        samples, whole = observation.samples, observation.epoch_samples
        return sum(samples * below >= above * whole for above, below in self._milestones)

    def at(self, observation: Observation) -> float:
        """Return the learning rate of the batch at a moment.

        Args:
            observation: The moment.

        Returns:
            The learning rate, positive.

        Example:
            ```python
            rate = fs.policy.Rate(0.1, epochs=4)
            assert rate.at(fs.policy.Observation(3, 0, 100)) == 0.001
            ```
        """
        return self.of_level(self.level(observation))

    def of_level(self, level: int) -> float:
        """Return the learning rate after `level` milestones.

        Args:
            level: Milestones passed, from 0.

        Returns:
            The learning rate; dividing keeps 0.1/10 at 0.01 where multiplying would not.

        Example:
            ```python
            assert fs.policy.Rate(0.1, epochs=4).of_level(1) == 0.01
            ```
        """
        return self.lr / (1 / self.factor) ** level

    @property
    def suffix(self) -> str:
        """The part of a policy's name for this schedule; empty for the default levels."""
        if not self.milestones:
            return "+constant"
        if (self.milestones, self.factor) == ((0.5, 0.75), 0.1):
            return ""
        return f"+decay:at={'/'.join(map(repr, self.milestones))},by={self.factor!r}"

    @cached_property
    def edges(self) -> tuple[Fraction, ...]:
        """Where the levels begin, in epochs, and the end of the run."""
        inner = (Fraction(m).limit_denominator(1_000_000) * self.epochs for m in self.milestones)
        return (Fraction(0), *inner, Fraction(self.epochs))

    @cached_property
    def _milestones(self) -> tuple[tuple[int, int], ...]:
        """Milestones as (numerator, denominator): integers compare ten times faster."""
        return tuple((edge.numerator, edge.denominator) for edge in self.edges[1:-1])

    def within_level(self, observation: Observation) -> Fraction:
        """Return the completed share of the current level.

        Args:
            observation: The moment.

        Returns:
            0 at the level's first batch; 1 and above after the run's end.

        Example:
            ```python
            rate = fs.policy.Rate(0.1, epochs=4)
            assert rate.within_level(fs.policy.Observation(1, 0, 100)) == 0.5
            ```
        """
        level = self.level(observation)
        begin, end = self.edges[level], self.edges[level + 1]
        return (observation.progress - begin) / (end - begin)
