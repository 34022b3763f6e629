"""DynamicBatchSampler: batches whose size a policy chooses; applies its decisions."""

import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from copy import copy
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from fisherscope.guard import repeat_once
from fisherscope.policy import Decision, Observation, Policy, State
from fisherscope.sampler.attachment import Attachment, RateOwner
from fisherscope.sampler.epoch_iterator import EpochIterator
from fisherscope.sampler.planned_batch import PlannedBatch
from fisherscope.sampler.validation import (
    check_arguments,
    check_order,
    length_of,
    refuse_as_sampler,
    refuse_sizes_beyond,
)

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler


class DynamicBatchSampler:
    """Sample batches for a DataLoader, their sizes and learning rates from a policy.

    Every sample is drawn exactly once per epoch, in an order that follows from `seed` and the epoch alone.
    The loop calls `step` after each optimizer step; that moves on to the next batch and sets its learning
    rate, so that it changes when its batch arrives. An iteration starts at the first batch that was not
    stepped: at the next epoch, or inside one after `load_state_dict` or a `break`.

    Batch j is planned with the rows of the steps before j - lag, whatever the workers' timing. A policy that
    reads measurements needs lag >= workers x prefetch factor; one that does not, needs none.

    An epoch's last batch takes the remaining samples: fewer than decided, or up to world_size - 1 more if the
    remainder could not give every rank one. Rank r draws samples r, r + world_size, … of each batch.

    Args:
        data: The dataset, or its number of samples.
        policy: Policy that chooses the size and learning rate of each batch.
        seed: Seed of the order of samples.
        lag: Batches between a measurement and the first batch that may depend on it.
        rank: Number of this process, below `world_size`; every rank must receive the same measurements.
        world_size: Number of processes that share each batch.
        shuffle: Whether epochs are shuffled; otherwise samples come in the dataset's order.
        order: Function from an epoch to the order of its samples, such as one grouped by length, in place of
            that of `seed`; called once for each iteration.

    Raises:
        TypeError: `data` has no length, or is a DataLoader; while iterating: it was passed as `sampler=`.
        ValueError: An argument is outside its range.
        RuntimeError: While iterating: `step` is not called, or `lag` is shorter than the prefetching.

    Example:
        ```python
        sampler = fs.DynamicBatchSampler(100, fs.policy.parse("s16-to-64", lr=0.1, epochs=5))
        for indices in sampler:
            assert len(indices) == sampler.current.size
            sampler.step()
        ```
    """

    def __init__(
        self,
        data: Sized | int,
        policy: Policy,
        seed: int = 0,
        lag: int = 0,
        rank: int = 0,
        world_size: int = 1,
        *,
        shuffle: bool = True,
        order: Callable[[int], Sequence[int]] | None = None,
    ) -> None:
        self.length = length_of(data)
        check_arguments(policy, self.length, seed, lag, rank, world_size)
        self.policy, self.seed, self.lag, self.shuffle = policy, seed, lag, shuffle
        self.order = order
        self.rank, self.world_size = rank, world_size
        refuse_sizes_beyond(policy, self.length)
        self._state: State = policy.init()
        self._steps = 0  # batches the loop has finished
        self._plans = 0  # batches planned since the start of the run
        self._position = (0, 0)  # epoch and first sample of the next batch to plan
        self._queue: deque[PlannedBatch] = deque()  # planned, not finished
        self._rows: dict[int, dict[str, Any]] = {}  # measurements by step, not yet passed to the policy
        self._last_epoch = -1  # epoch that an iterator has drawn to its end
        self._has_rows = False  # whether a measurement has arrived, or its absence was warned of
        self._attached: Attachment | None = None

    # What the DataLoader calls

    @repeat_once
    def __iter__(self) -> Iterator[list[int]]:
        refuse_as_sampler(self, sys._getframe(2))  # 1 is that of repeat_once
        return EpochIterator(self)

    def _begin_epoch(self) -> "tuple[PlannedBatch, np.ndarray[Any, np.dtype[np.int64]]]":
        """Return the first batch that was not stepped, and the order of its epoch's samples."""
        batch = self._plan(self._steps)
        if self._last_epoch == batch.epoch and batch.start == 0:
            raise RuntimeError(
                f"starting an epoch: epoch {batch.epoch} was drawn to its end but none of its batches was "
                "stepped; call sampler.step() after each optimizer step"
            )
        return batch, self._order(batch.epoch)

    @repeat_once
    def __len__(self) -> int:
        """Return how many batches the next iteration draws.

        Raises:
            TypeError: The policy reads measurements, so the number is not known in advance.
        """
        return self.count_batches(self.current.epoch + 1)[-1]

    def count_batches(self, epochs: int) -> list[int]:
        """Count the batches that are not stepped, by epoch.

        Args:
            epochs: Length of the run in epochs.

        Returns:
            Batches left in the current epoch, then those of each epoch that follows.

        Raises:
            TypeError: The policy reads measurements, so the numbers are not known in advance.

        Cost: a decision for each batch, some microseconds.

        Example:
            ```python
            sampler = fs.DynamicBatchSampler(100, fs.policy.parse("s25-to-100", lr=0.1, epochs=2))
            assert sampler.count_batches(2) == [4, 2]
            ```
        """
        if self.policy.closed_loop:
            raise TypeError(f"counting the batches of an epoch: {self.policy.name!r} decides during training")
        twin = copy(self)
        twin._queue, twin._rows = deque(self._queue), {}
        batch = twin._plan(twin._steps)
        counts = [0] * (epochs - batch.epoch)
        first = batch.epoch
        while batch.epoch < epochs:
            counts[batch.epoch - first] += 1
            batch = twin._plan(batch.step + 1)
            twin._queue.popleft()
        return counts

    # What the loop calls

    @repeat_once
    def attach(
        self,
        optimizer: "Optimizer",
        lr: RateOwner | None = None,
        *,
        scheduler: "LRScheduler | None" = None,
        scheduler_batch_size: int | None = None,
    ) -> None:
        """Apply the policy's decisions to an optimizer, now and at every step.

        With "policy" the first parameter group gets the policy's learning rate; the others keep their ratio
        to it. With "couple" the rate that a scheduler wrote is multiplied, in the step only, by the size's
        rule (`+linear`, `+sqrt` …; without one by 1), and with "keep" it is left alone. Betas change where
        the policy says so (`+beta2`, `+betas`). The optimizer's state is never reset.

        Args:
            optimizer: The optimizer of the training loop.
            lr: Who sets the learning rate: "policy", "keep" or "couple"; None for "couple" with a scheduler,
                else "policy".
            scheduler: A torch scheduler that counts batches: `step` advances it by samples, so that warm-up
                and decay keep their meaning, and the loop does not call it. Save its state with yours.
            scheduler_batch_size: Samples that one of its steps stands for; None for the policy's first size.

        Raises:
            TypeError: The scheduler does not count batches (ReduceLROnPlateau).
            ValueError: With "policy", the first group's learning rate is 0, so ratios are undefined; the
                policy changes betas, and the optimizer has none or they would be such that √β₂ < β₁; or
                arguments contradict each other.

        Cost: two hooks of some microseconds in each optimizer step.

        Example:
            ```python
            optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
            cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8)  # steps of 25 samples
            sampler = fs.DynamicBatchSampler(100, fs.policy.parse("s25-to-50+linear", lr=0.1, epochs=2))
            sampler.attach(optimizer, scheduler=cosine)
            for epoch in range(2):
                for indices in sampler:
                    optimizer.step()
                    sampler.step()
            assert cosine.last_epoch == 8
            ```
        """
        attached = Attachment(optimizer, lr, scheduler, self.policy, self.length, scheduler_batch_size)
        if self._attached is not None:
            self._attached.detach()
        self._attached = attached
        self._apply()

    def detach(self) -> None:
        """Leave the attached optimizer alone from now on: its steps are as its groups say.

        Example:
            ```python
            optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
            sampler = fs.DynamicBatchSampler(100, fs.policy.parse("s32+linear", lr=0.1, epochs=2))
            sampler.attach(optimizer, "couple")
            sampler.detach()
            assert sampler.attachment is None
            ```
        """
        if self._attached is not None:
            self._attached.detach()
        self._attached = None

    @property
    def attachment(self) -> Attachment | None:
        """What is applied to the optimizer; its text says in one line who sets the rate."""
        return self._attached

    @repeat_once
    def step(self, measurement: Mapping[str, Any] | None = None) -> Decision:
        """Finish the current batch, and set the learning rate of the next one.

        Args:
            measurement: The monitor's row of the step just done; None if it was not measured.

        Returns:
            The decision for the next batch.

        Raises:
            RuntimeError: The optimizer has got a parameter group since it was attached, or the loop steps the
                attached scheduler too.
            ValueError: The policy decides on a size that the data or the ranks do not allow.

        Example:
            ```python
            sampler = fs.DynamicBatchSampler(100, fs.policy.parse("s32", lr=0.1, epochs=2))
            assert sampler.step().batch_size == 32 and sampler.current.step == 1
            ```
        """
        self._plan(self._steps)
        batch = self._queue.popleft()
        if measurement is not None and self.policy.closed_loop:
            self._rows[self._steps] = dict(measurement)
            self._has_rows = True
        self._steps += 1
        if self.policy.closed_loop and not self._has_rows and batch.start + batch.size == self.length:
            self._has_rows = True  # warns once
            warnings.warn(
                f"{self.policy.name!r} reads measurements and got none for an epoch; its sizes stay. "
                "Pass it the monitor's rows: sampler.step(row)",
                stacklevel=3,
            )
        decision = self._apply()
        if self._attached is not None:
            self._attached.advance(batch, self.current)
        return decision

    @property
    @repeat_once
    def current(self) -> PlannedBatch:
        """The batch being trained: the first one that was not stepped."""
        return self._plan(self._steps)

    @property
    @repeat_once
    def epoch(self) -> int:
        """The current batch's epoch."""
        return self.current.epoch

    @repeat_once
    def forget_drawn(self) -> None:
        """Allow a new iterator of an epoch that was drawn to its end and not stepped.

        A framework may renew its iterator before it trains. Without this, drawing an epoch twice without a
        step between is taken for a loop that never calls `step`.

        Example:
            ```python
            sampler = fs.DynamicBatchSampler(100, fs.policy.parse("s50", lr=0.1, epochs=2))
            ahead = list(sampler)
            sampler.forget_drawn()
            assert list(sampler) == ahead
            ```
        """
        self._last_epoch = -1

    # State

    @repeat_once
    def state_dict(self) -> dict[str, Any]:
        """Return the state from which the same batches follow, planned ones included.

        Returns:
            JSON values only.

        Example:
            ```python
            policy = fs.policy.parse("s32-to-128", lr=0.1, epochs=5)
            sampler = fs.DynamicBatchSampler(1000, policy)
            sampler.step()
            resumed = fs.DynamicBatchSampler(1000, policy)
            resumed.load_state_dict(sampler.state_dict())
            assert resumed.current == sampler.current
            ```
        """
        return self._identity() | {
            "steps": self._steps,
            "told": self._has_rows,
            "planned": self._plans,
            "place": list(self._position),
            "policy_state": self._state,
            "queue": [asdict(batch) for batch in self._queue],
            "rows": [[step, row] for step, row in self._rows.items()],
        }

    @repeat_once
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume where `state_dict` was taken, and set the attached optimizer's learning rate.

        Args:
            state: The state that `state_dict` returned.

        Raises:
            ValueError: The state is of another sampler (data, policy, seed, lag, ranks).

        Example:
            ```python
            sampler = fs.DynamicBatchSampler(100, fs.policy.parse("s32", lr=0.1, epochs=2))
            sampler.load_state_dict(sampler.state_dict())
            ```
        """
        for key, mine in self._identity().items():
            if state.get(key) != mine:
                raise ValueError(
                    f"resuming a DynamicBatchSampler: its state has {key}={state.get(key)!r}, this one has "
                    f"{mine!r}; build it with the same arguments"
                )
        self._steps, self._plans, self._has_rows = state["steps"], state["planned"], state["told"]
        self._position = (state["place"][0], state["place"][1])
        self._state = dict(state["policy_state"])
        self._queue = deque(
            PlannedBatch(**{**b, "decision": Decision(**b["decision"])}) for b in state["queue"]
        )
        self._rows = {step: dict(row) for step, row in state["rows"]}
        self._last_epoch = -1
        self._apply()

    def _identity(self) -> dict[str, Any]:
        return {
            "length": self.length,
            "policy": repr(self.policy),
            "seed": self.seed,
            "lag": self.lag,
            "world_size": self.world_size,
            "shuffle": self.shuffle,
        }

    # Planning

    def _plan(self, step: int) -> PlannedBatch:
        """Return the batch of a step; plan it and those before it if that is not done yet."""
        while self._plans <= step:
            self._queue.append(self._decide())
        if not self._queue or step < self._queue[0].step:
            raise RuntimeError(
                f"drawing batch {step}: it was stepped before; this iterator is out of date, make a new one"
            )
        return self._queue[step - self._queue[0].step]

    def _decide(self) -> PlannedBatch:
        step, (epoch, start) = self._plans, self._position
        visible = step - self.lag  # steps before this one are finished, and their rows may be used
        if self.policy.closed_loop and visible > self._steps:
            raise RuntimeError(
                f"planning batch {step} while batch {self._steps} is trained: {self.policy.name!r} reads "
                f"measurements and lag={self.lag} is too short for this DataLoader; "
                "give lag=num_workers * prefetch_factor (or more)"
            )
        observation = Observation(epoch, start, self.length, self._rows.pop(visible - 1, None))
        self._state, decision = self.policy.update(self._state, observation)
        if not self.world_size <= decision.batch_size <= self.length:
            raise ValueError(
                f"applying {self.policy.name!r} at step {step}: {decision.batch_size} is not between the "
                f"world size {self.world_size} and the data's {self.length}; "
                "choose other sizes, or add +bounds:min=…,max=… to the name"
            )
        remainder = self.length - start
        size = remainder if remainder - decision.batch_size < self.world_size else decision.batch_size
        self._plans += 1
        self._position = (epoch, start + size) if size < remainder else (epoch + 1, 0)
        return PlannedBatch(step, epoch, start, size, decision)

    def _order(self, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        if self.order is not None:
            return check_order(self.order(epoch), self.length)
        if not self.shuffle:
            return np.arange(self.length)
        return np.random.default_rng((self.seed, epoch)).permutation(self.length)

    def _apply(self) -> Decision:
        """Set the current batch's learning rate, and return its decision."""
        decision = self.current.decision
        if self._attached is not None:
            self._attached.apply(decision)
        return decision
