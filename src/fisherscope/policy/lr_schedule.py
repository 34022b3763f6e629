"""The learning rate under every policy: levels (by default ÷10 at 50 % and 75 %), cosine, linear, WSD."""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise

from fisherscope.policy.decision import Observation
from fisherscope.policy.options import option_suffix

SHAPES = {"levels": "decay", "cosine": "cosine", "linear": "linear-decay", "wsd": "wsd"}
"""Shapes of a schedule, and what each is called in a policy's name."""
WARMUP_START = 0.01
"""Factor of the learning rate at the first batch, where there is a warm-up."""


@dataclass(frozen=True)
class Decay:
    """Hold the options of a continuous schedule, as they stand in a policy's name.

    Args:
        warmup: Share of the run over which the rate rises from a hundredth of itself, in [0, 1).
        end: Factor of the rate at the run's end, in (0, 1].
        decay: Share of the run over which a `wsd` schedule falls, in (0, 1].

    Source: Hu et al. 2024 (MiniCPM) for a decay at the end of the run.

    Example:
        ```python
        policy = fs.policy.parse("s32+wsd:warmup=0.05", lr=0.1, epochs=10)
        assert policy.rate.curve == fs.policy.Decay(warmup=0.05)
        ```
    """

    warmup: float = 0.0
    end: float = 0.01
    decay: float = 0.2


@dataclass(frozen=True)
class Rate:
    """Schedule the learning rate: `lr` times a factor at each milestone, or a curve.

    A milestone inside an epoch takes effect with the first batch that starts at or after it; milestones are
    exact, in samples. The curves are functions of the share of the run's samples before a batch: `cosine`
    falls along half a cosine, `linear` along a line, `wsd` (warm-up, stable, decay) stays and falls along a
    line at the end. After `epochs` the last rate continues.

    Source: Liao et al. 2020 for the default, ÷10 at 50 % and 75 % of the epochs (docs/paper.md); Loshchilov
    and Hutter 2017 for the cosine (to a factor `end`, without restarts); Hu et al. 2024 for WSD.

    Args:
        lr: Learning rate of the first level, positive.
        epochs: Length of the run.
        milestones: Increasing fractions of the run, between 0 and 1; empty for a constant rate.
        factor: Factor of the learning rate at each milestone, in (0, 1].
        shape: "levels", "cosine", "linear" or "wsd"; all but the first take no milestones.
        curve: Warm-up of any shape; end and length of the decay of the continuous ones.

    Raises:
        ValueError: An argument is outside its range.

    Example:
        ```python
        rate = fs.policy.Rate(0.1, epochs=40)
        assert [rate.of_level(level) for level in range(3)] == [0.1, 0.01, 0.001]
        cosine = fs.policy.parse("s32+cosine:warmup=0.1", lr=0.1, epochs=10).rate
        assert cosine.at(fs.policy.Observation(1, 0, 100)) == 0.1
        ```
    """

    lr: float
    epochs: int
    milestones: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1
    shape: str = "levels"
    curve: Decay = Decay()

    def __repr__(self) -> str:  # a checkpoint holds it: levels read as they did before there were curves
        names = ["lr", "epochs", "milestones", "factor"]
        names += [name for name in ("shape", "curve") if getattr(self, name) != getattr(Rate, name)]
        return f"Rate({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

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
        self._check_curve()

    def _check_curve(self) -> None:
        doing, curve = "building a learning-rate schedule", self.curve
        if self.shape not in SHAPES:
            raise ValueError(f"{doing}: shape={self.shape!r}; expected one of {', '.join(SHAPES)}")
        if self.shape != "levels" and self.milestones:
            raise ValueError(f"{doing}: {self.shape} has no milestones; leave out {self.milestones!r}")
        if not 0 <= curve.warmup < 1:
            raise ValueError(f"{doing}: warmup={curve.warmup!r} must be in [0, 1); it is a share of the run")
        if not 0 < curve.end <= 1:
            raise ValueError(f"{doing}: end={curve.end!r} must be in (0, 1], a factor of the rate")
        if not 0 < curve.decay <= 1 or (self.shape == "wsd" and curve.warmup + curve.decay > 1):
            raise ValueError(
                f"{doing}: decay={curve.decay!r} must be in (0, 1], and with warmup={curve.warmup!r} at most "
                "1; both are shares of the run"
            )

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
        if self.shape == "levels" and not self.curve.warmup:
            return self.of_level(self.level(observation))
        return self.before_warmup(observation) * self._warmup(self._share(observation))

    def before_warmup(self, observation: Observation) -> float:
        """Return the learning rate at a moment, without the warm-up's factor.

        Args:
            observation: The moment.

        Returns:
            The learning rate, positive.

        Example:
            ```python
            rate = fs.policy.parse("s32+constant:warmup=0.5", lr=0.1, epochs=4).rate
            assert rate.before_warmup(fs.policy.Observation(0, 0, 100)) == 0.1
            ```
        """
        return self.of_level(self.level(observation)) * self._decay(self._share(observation))

    def _share(self, observation: Observation) -> float:
        return min(float(observation.progress / self.epochs), 1.0)

    def _warmup(self, share: float) -> float:
        if share >= self.curve.warmup:
            return 1.0
        return WARMUP_START + (1 - WARMUP_START) * share / self.curve.warmup

    def _decay(self, share: float) -> float:
        """Return the factor of a continuous shape after a share of the run."""
        curve = self.curve
        begin = 1 - curve.decay if self.shape == "wsd" else curve.warmup
        fallen = min(max((share - begin) / (1 - begin), 0.0), 1.0)  # completed share of the decay
        if self.shape == "levels":
            return 1.0
        if self.shape == "cosine":
            fallen = (1 - math.cos(math.pi * fallen)) / 2
        return 1 - (1 - curve.end) * fallen

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
        options = option_suffix(self.curve, 0)
        if self.shape != "levels":
            return f"+{SHAPES[self.shape]}{options}"
        if not self.milestones:
            return f"+constant{options}"
        if (self.milestones, self.factor) == ((0.5, 0.75), 0.1) and not options:
            return ""
        levels = f"+decay:at={'/'.join(map(repr, self.milestones))},by={self.factor!r}"
        return levels + options.replace(":", ",")

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
