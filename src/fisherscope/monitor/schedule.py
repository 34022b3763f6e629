"""Which steps are measured: the first, then seeded random ones; strided, so many an epoch, or by budget."""

import random
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil
from statistics import median
from typing import Any, Protocol


@dataclass(frozen=True)
class Position:
    """Where the next step stands, before it is taken.

    Args:
        step: Steps taken in the run.
        step_in_epoch: Steps taken in this epoch.
        epoch: Epochs ended.
        samples_in_epoch: Samples of this epoch in the steps before.
        batch_size: Samples of the previous step, the best guess of this one's; 0 before the first.
    """

    step: int
    step_in_epoch: int
    epoch: int
    samples_in_epoch: int
    batch_size: int


class Schedule(Protocol):
    """Says of each step, once and in order, whether it is measured."""

    def due(self, position: Position) -> bool:
        """Whether the step at `position` is measured."""

    def timed(self, seconds: float, measured: bool) -> None:
        """How long the step before the present one took, from its start to the present one's."""

    def state_dict(self) -> dict[str, Any]:
        """What it remembers, as JSON values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""


def draw(seed: int, number: int, size: int) -> int:
    """A number in [0, size) that depends on nothing but the arguments."""
    return random.Random(f"{seed}/{number}").randrange(size)


class _Stateless:
    """A schedule that follows from the position alone."""

    def timed(self, seconds: float, measured: bool) -> None:
        """Time does not matter."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""


@dataclass
class RandomInterval(_Stateless):
    """The first step, then one seeded random step in each `every` steps: unlike a stride it cannot fall in
    with the epoch."""

    every: int
    seed: int
    _interval: int = -1
    _chosen: int = -1

    def due(self, position: Position) -> bool:
        """Whether it is the step drawn in its interval [1 + k·every, 1 + (k + 1)·every)."""
        if position.step == 0:
            return True
        interval = (position.step - 1) // self.every
        if interval != self._interval:
            self._interval = interval
            self._chosen = 1 + interval * self.every + draw(self.seed, interval, self.every)
        return position.step == self._chosen


@dataclass
class FixedInterval(_Stateless):
    """Every `every`-th step of an epoch, beginning with its first (docs/paper.md)."""

    every: int

    def due(self, position: Position) -> bool:
        """Whether the step's number within the epoch is a multiple."""
        return position.step_in_epoch % self.every == 0


@dataclass
class PerEpoch:
    """`count` steps an epoch, whatever the batch size: the epoch's samples in equal parts, one seeded random
    sample in each, and the step that holds it. The run's first step stands for the first part of epoch 0.

    Where a step holds two of the samples, the next step stands for the second: there are `count` measurements
    wherever there are `count` steps of equal size.
    """

    count: int
    seed: int
    dataset_size: int
    taken: int = 0
    epoch: int = -1
    _drawn: list[int] = field(default_factory=list)

    def due(self, position: Position) -> bool:
        """Whether a drawn sample that no earlier measurement stands for is in the step or before it."""
        if position.epoch != self.epoch:
            self.taken = 0
        if position.epoch != self.epoch or not self._drawn:
            self.epoch, self._drawn = position.epoch, self._draws(position.epoch)
        reached = position.samples_in_epoch + max(position.batch_size, 1)
        due = self.taken < self.count and self._drawn[self.taken] < reached
        self.taken += due
        return due

    def _draws(self, epoch: int) -> list[int]:
        edges = [self.dataset_size * part // self.count for part in range(self.count + 1)]
        draws = [
            low + draw(self.seed, epoch * self.count + part, max(high - low, 1))
            for part, (low, high) in enumerate(pairwise(edges))
        ]
        return [0, *draws[1:]] if epoch == 0 else draws

    def timed(self, seconds: float, measured: bool) -> None:
        """Time does not matter."""

    def state_dict(self) -> dict[str, Any]:
        """The epoch, and how many of its samples measurements already stand for."""
        return {"epoch": self.epoch, "taken": self.taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.epoch, self.taken, self._drawn = state["epoch"], state["taken"], []


WARM_STEP = 8
"""The measured step a budget is judged by: caches, threads and the grouping probe are warm by then."""


@dataclass
class Budget:
    """`RandomInterval` at the interval at which measuring takes `share` of the time.

    The interval is computed once, from the first steps.

    Steps 0 and `WARM_STEP` are measured; what the latter takes longer than the median of the others, over
    `share` of that median, is the interval. It is part of the state: a resumed run keeps it.
    """

    share: float
    seed: int
    every: int | None = None
    _plain: list[float] = field(default_factory=list)
    _spread: RandomInterval | None = None

    def due(self, position: Position) -> bool:
        """The two steps it is found from, then as `RandomInterval`."""
        if self.every is None:
            return position.step in (0, WARM_STEP)
        if position.step <= WARM_STEP:
            return False
        if self._spread is None:
            self._spread = RandomInterval(self.every, self.seed)
        return self._spread.due(position)

    def timed(self, seconds: float, measured: bool) -> None:
        """Collect times until the interval is found."""
        if self.every is not None:
            return
        if not measured:
            self._plain.append(seconds)
        elif self._plain:
            typical = median(self._plain)
            self.every = max(1, ceil((seconds - typical) / (self.share * typical)))

    def state_dict(self) -> dict[str, Any]:
        """The interval, None before it is found."""
        return {"every": self.every}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.every, self._spread = state["every"], None


def schedule(
    every: int,
    seed: int,
    stride: bool,
    per_epoch: int | None,
    budget: float | None,
    dataset_size: int | None,
) -> Schedule:
    """The one that the monitor's arguments describe.

    Raises:
        ValueError: An argument is outside its range, or two of them contradict each other.
    """
    if sum((stride, per_epoch is not None, budget is not None)) > 1:
        raise ValueError(
            f"choosing the measured steps: stride={stride}, per_epoch={per_epoch} and budget={budget} "
            "exclude each other; give one of them"
        )
    if every < 1 or (per_epoch is not None and per_epoch < 1):
        raise ValueError(
            f"choosing the measured steps: every={every}, per_epoch={per_epoch}; both count steps, from 1"
        )
    if budget is not None:
        if not 0 < budget < 1:
            raise ValueError(
                f"choosing the measured steps: budget={budget!r} is the share of the training time that "
                "measuring may take, in (0, 1)"
            )
        return Budget(budget, seed)
    if per_epoch is not None:
        if dataset_size is None:
            raise ValueError(
                f"choosing the measured steps: per_epoch={per_epoch} needs dataset_size, the "
                "samples of an epoch"
            )
        return PerEpoch(min(per_epoch, dataset_size), seed, dataset_size)  # so many is every step
    return FixedInterval(every) if stride else RandomInterval(every, seed)
