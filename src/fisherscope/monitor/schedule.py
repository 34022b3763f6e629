"""Which steps are measured: seeded random ones, every n-th, or as many as a budget allows."""

import random
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil
from statistics import median
from typing import Any, Protocol

from fisherscope.guard import RefusedValue

SCHEDULE_SETTINGS = ("every", "seed", "stride", "per_epoch", "budget", "dataset_size")
"""Settings that say which steps are measured: the arguments of `schedule`."""


@dataclass(frozen=True)
class Position:
    """Position of the next step in the run.

    Args:
        step: Steps before it in the run.
        step_in_epoch: Steps before it in this epoch.
        epoch: Epochs that ended.
        samples_in_epoch: Samples of this epoch in the steps before it.
        batch_size: Samples of the previous step, the best guess of this one's; 0 before the first.
    """

    step: int
    step_in_epoch: int
    epoch: int
    samples_in_epoch: int
    batch_size: int


class Schedule(Protocol):
    """Decide for each step, once and in order, whether it is measured."""

    def due(self, position: Position) -> bool:
        """Decide whether the step at `position` is measured."""

    def add_time(self, seconds: float, measured: bool) -> None:
        """Receive the time of the previous step.

        Args:
            seconds: From its start to the start of the present one.
            measured: Whether it was measured.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what the schedule must remember, as JSON values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from what `state_dict` returned."""


def seeded_integer(seed: int, number: int, size: int) -> int:
    """Draw an integer in [0, size) that depends on nothing but the arguments.

    Args:
        seed: Seed of the run.
        number: Which of the run's draws.
        size: Upper end, exclusive.

    Returns:
        The integer.
    """
    return random.Random(f"{seed}/{number}").randrange(size)


class _Stateless:
    """A schedule that depends on the position alone."""

    def add_time(self, seconds: float, measured: bool) -> None:
        """Ignore the time."""

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Ignore the state."""


@dataclass
class RandomInterval(_Stateless):
    """The first step, then one seeded random step in each `every` steps.

    Unlike a stride it cannot coincide with the epochs.
    """

    every: int
    seed: int
    _interval: int = -1
    _target: int = -1

    def due(self, position: Position) -> bool:
        """Check for the step drawn in the interval [1 + k·every, 1 + (k + 1)·every)."""
        if position.step == 0:
            return True
        interval = (position.step - 1) // self.every
        if interval != self._interval:
            self._interval = interval
            self._target = 1 + interval * self.every + seeded_integer(self.seed, interval, self.every)
        return position.step == self._target


@dataclass
class FixedInterval(_Stateless):
    """Every `every`-th step of an epoch, beginning with its first (docs/paper.md)."""

    every: int

    def due(self, position: Position) -> bool:
        """Check whether the step's number within the epoch is a multiple of `every`."""
        return position.step_in_epoch % self.every == 0


@dataclass
class PerEpoch:
    """`count` steps per epoch, whatever the batch size.

    The epoch's samples are divided into `count` equal parts, and the step that holds a seeded random sample
    of each part is measured. In epoch 0 the run's first step stands for the first part. Where a step holds
    two of these samples, the next step stands for the second: there are `count` measurements wherever there
    are `count` steps of equal size.
    """

    count: int
    seed: int
    dataset_size: int
    measurements: int = 0
    epoch: int = -1
    _targets: list[int] = field(default_factory=list)

    def due(self, position: Position) -> bool:
        """Check for a target sample, up to this step, that no measurement stands for yet."""
        if position.epoch != self.epoch:
            self.measurements = 0
        if position.epoch != self.epoch or not self._targets:
            self.epoch, self._targets = position.epoch, self._samples_of(position.epoch)
        reached = position.samples_in_epoch + max(position.batch_size, 1)
        due = self.measurements < self.count and self._targets[self.measurements] < reached
        self.measurements += due
        return due

    def _samples_of(self, epoch: int) -> list[int]:
        edges = [self.dataset_size * part // self.count for part in range(self.count + 1)]
        targets = [
            low + seeded_integer(self.seed, epoch * self.count + part, max(high - low, 1))
            for part, (low, high) in enumerate(pairwise(edges))
        ]
        return [0, *targets[1:]] if epoch == 0 else targets

    def add_time(self, seconds: float, measured: bool) -> None:
        """Ignore the time."""

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch, and how many of its target samples have been measured."""
        return {"epoch": self.epoch, "taken": self.measurements}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from what `state_dict` returned."""
        self.epoch, self.measurements, self._targets = state["epoch"], state["taken"], []


WARM_STEP = 8
"""The measured step whose time sets the interval: caches, threads and the batch-axis probe are warm then."""


@dataclass
class Budget:
    """`RandomInterval` with the interval at which measuring takes `share` of the time.

    Steps 0 and `WARM_STEP` are measured. The interval is computed once: the extra time of the latter over
    `share` of an unmeasured step's median time. It is part of the state, so a resumed run keeps it.
    """

    share: float
    seed: int
    every: int | None = None
    _plain: list[float] = field(default_factory=list)
    _schedule: RandomInterval | None = None

    def due(self, position: Position) -> bool:
        """Check for the two first measured steps, then as `RandomInterval`."""
        if self.every is None:
            return position.step in (0, WARM_STEP)
        if position.step <= WARM_STEP:
            return False
        if self._schedule is None:
            self._schedule = RandomInterval(self.every, self.seed)
        return self._schedule.due(position)

    def add_time(self, seconds: float, measured: bool) -> None:
        """Collect times until the interval can be computed."""
        if self.every is not None:
            return
        if not measured:
            self._plain.append(seconds)
        elif self._plain:
            typical = median(self._plain)
            self.every = max(1, ceil((seconds - typical) / (self.share * typical)))

    def state_dict(self) -> dict[str, Any]:
        """Return the interval, None before it is computed."""
        return {"every": self.every}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from what `state_dict` returned."""
        self.every, self._schedule = state["every"], None


def schedule(
    every: int,
    seed: int,
    stride: bool,
    per_epoch: int | None,
    budget: float | None,
    dataset_size: int | None,
) -> Schedule:
    """Build the schedule that the arguments of `Monitor` describe.

    Args:
        every: Interval, steps.
        seed: Seed of the random steps.
        stride: Whether exactly every `every`-th step of an epoch is measured.
        per_epoch: Measurements per epoch, or None.
        budget: Share of the time that measuring may take, in (0, 1), or None.
        dataset_size: Samples of an epoch, or None.

    Returns:
        A schedule at its beginning.

    Raises:
        ValueError: An argument is outside its range, or two of them contradict each other.
    """
    if sum((stride, per_epoch is not None, budget is not None)) > 1:
        raise RefusedValue(
            f"choosing the measured steps: stride={stride}, per_epoch={per_epoch} and budget={budget} "
            "exclude each other; pass one of them"
        )
    if every < 1 or (per_epoch is not None and per_epoch < 1):
        raise RefusedValue(
            f"choosing the measured steps: every={every}, per_epoch={per_epoch}; expected 1 or more"
        )
    if budget is not None:
        if not 0 < budget < 1:
            raise RefusedValue(
                f"choosing the measured steps: budget={budget!r}; expected the share of the training time "
                "that measuring may take, in (0, 1)"
            )
        return Budget(budget, seed)
    if per_epoch is not None:
        if dataset_size is None:
            raise RefusedValue(
                f"choosing the measured steps: per_epoch={per_epoch} needs dataset_size, the number of "
                "samples of an epoch; pass it too"
            )
        return PerEpoch(min(per_epoch, dataset_size), seed, dataset_size)  # more would be every step
    return FixedInterval(every) if stride else RandomInterval(every, seed)
