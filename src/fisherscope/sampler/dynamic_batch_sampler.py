"""DynamicBatchSampler: batches whose size a policy chooses, and the one place that applies its decisions."""

import sys
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sized
from copy import copy
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fisherscope.policy import Decision, Observation, Policy, State
from fisherscope.sampler.validation import length_of, refuse_as_sampler, refuse_sizes_beyond

if TYPE_CHECKING:
    from torch.optim import Optimizer


@dataclass(frozen=True)
class PlannedBatch:
    """A planned batch: its place in the run and what was decided for it.

    `size` is what it holds, over all ranks: `decision.batch_size`, but for the end of an epoch.
    """

    step: int
    epoch: int
    start: int
    size: int
    decision: Decision


class DynamicBatchSampler:
    """The batch sampler of a DataLoader, with the size of each batch and the learning rate from a policy.

    Every sample comes exactly once an epoch, in an order that follows from `seed` and the epoch alone. The
    loop calls `step` after each optimizer step; that moves on to the next batch and sets its learning rate,
    so the rate changes when the batch it was chosen for arrives. An iteration begins at the first batch that
    was not stepped: at the next epoch, or in the middle of one after `load_state_dict` or a `break`.

    Batch j is planned with the rows of the steps before j - lag, whatever the workers' timing. A policy that
    reads measurements needs lag >= workers x prefetch factor; one that does not, needs none.

    An epoch's last batch takes what is left: fewer samples than decided, or up to world_size - 1 more where
    the rest could not give every rank one. Rank r draws samples r, r + world_size, … of each batch.

    Args:
        data: The dataset, or its number of samples.
        policy: Chooses each batch's size and rate.
        seed: Seed of the order of samples.
        lag: Batches between a measurement and the first batch that may depend on it.
        rank: This process's number, of `world_size`; every rank must be told the same measurements.
        world_size: Number of processes that share each batch.
        shuffle: Whether epochs are shuffled; otherwise samples come in the dataset's order.

    Raises:
        TypeError: `data` has no length, or is a DataLoader; while iterating: it was given as `sampler=`.
        ValueError: An argument is outside its range.
        RuntimeError: While iterating: `step` is not called, or `lag` is shorter than the prefetching.
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
    ) -> None:
        self.length = length_of(data)
        if not isinstance(policy, Policy):
            raise TypeError(
                f"building a DynamicBatchSampler: {policy!r} is not a policy; "
                "make one of a name by fisherscope.policy.parse(name, lr=…, epochs=…)"
            )
        if not 0 <= rank < world_size <= self.length:
            raise ValueError(
                f"building a DynamicBatchSampler: rank={rank}, world_size={world_size}, {self.length} samples"
                "; expected 0 <= rank < world_size <= samples"
            )
        if lag < 0 or seed < 0:
            raise ValueError(
                f"building a DynamicBatchSampler: lag={lag}, seed={seed}; neither may be negative"
            )
        self.policy, self.seed, self.lag, self.shuffle = policy, seed, lag, shuffle
        self.rank, self.world_size = rank, world_size
        refuse_sizes_beyond(policy, self.length)
        self._state: State = policy.init()
        self._steps = 0  # batches the loop has finished
        self._planned = 0  # batches planned since the run began
        self._place = (0, 0)  # epoch and first sample of the next batch to plan
        self._queue: deque[PlannedBatch] = deque()  # planned, not finished
        self._rows: dict[int, dict[str, Any]] = {}  # measurements by step, not yet shown to the policy
        self._exhausted = -1  # epoch that an iterator has drawn to its end
        self._told = False  # whether a measurement ever came
        self._optimizer: Optimizer | None = None
        self._ratios: list[float] = []

    # What the DataLoader calls

    def __iter__(self) -> Iterator[list[int]]:
        refuse_as_sampler(self, sys._getframe(1))
        batch = self._plan(self._steps)
        if self._exhausted == batch.epoch and batch.start == 0:
            raise RuntimeError(
                f"starting an epoch: epoch {batch.epoch} was drawn to its end but none of its batches was "
                "stepped; call sampler.step() after each optimizer step"
            )
        order = self._order(batch.epoch)
        while True:
            yield order[batch.start : batch.start + batch.size][self.rank :: self.world_size].tolist()
            if batch.start + batch.size == self.length:
                self._exhausted = batch.epoch
                return
            batch = self._plan(batch.step + 1)

    def __len__(self) -> int:
        """Batches in the epoch that the next iteration draws from, from its next batch on.

        Raises:
            TypeError: The policy reads measurements, so that nobody knows.
        """
        if self.policy.closed_loop:
            raise TypeError(f"counting the batches of an epoch: {self.policy.name!r} decides it as it goes")
        twin = copy(self)
        twin._queue, twin._rows = deque(self._queue), {}
        batch, count = twin._plan(twin._steps), 1
        while batch.start + batch.size < self.length:
            batch, count = twin._plan(batch.step + 1), count + 1
        return count

    # What the loop calls

    def attach(self, optimizer: "Optimizer") -> None:
        """Set the learning rate of `optimizer`, now and at every step.

        The first parameter group gets the policy's rate; the others keep their ratio to it.

        Raises:
            ValueError: The first group's rate is 0, so that there is no ratio.
        """
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        if rates[0] == 0:
            raise ValueError(
                "attaching an optimizer: its first parameter group has lr=0; give it a positive one"
            )
        self._optimizer, self._ratios = optimizer, [rate / rates[0] for rate in rates]
        self._apply()

    def step(self, measurement: Mapping[str, Any] | None = None) -> Decision:
        """Finish the current batch; returns the decision for the next one, whose rate is now set.

        Args:
            measurement: The monitor's row of the step just done, if it was measured.
        """
        self._plan(self._steps)
        batch = self._queue.popleft()
        if measurement is not None and self.policy.closed_loop:
            self._rows[self._steps] = dict(measurement)
            self._told = True
        self._steps += 1
        if self.policy.closed_loop and not self._told and batch.start + batch.size == self.length:
            self._told = True  # said once
            warnings.warn(
                f"{self.policy.name!r} reads measurements and got none for an epoch; its sizes stay. "
                "Give it the monitor's rows: sampler.step(row)",
                stacklevel=2,
            )
        return self._apply()

    @property
    def current(self) -> PlannedBatch:
        """The batch being trained: the first one that was not stepped."""
        return self._plan(self._steps)

    @property
    def epoch(self) -> int:
        """The current batch's epoch."""
        return self.current.epoch

    # State

    def state_dict(self) -> dict[str, Any]:
        """Everything to go on with the same batches: JSON values only. Sizes in flight are part of it."""
        return self._identity() | {
            "steps": self._steps,
            "told": self._told,
            "planned": self._planned,
            "place": list(self._place),
            "policy_state": self._state,
            "queue": [asdict(batch) for batch in self._queue],
            "rows": [[step, row] for step, row in self._rows.items()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken; sets the attached optimizer's rate.

        Raises:
            ValueError: The state is of another sampler (data, policy, seed, lag, ranks).
        """
        for key, mine in self._identity().items():
            if state.get(key) != mine:
                raise ValueError(
                    f"resuming a DynamicBatchSampler: its state has {key}={state.get(key)!r}, this one has "
                    f"{mine!r}; build it with the same arguments"
                )
        self._steps, self._planned, self._told = state["steps"], state["planned"], state["told"]
        self._place = (state["place"][0], state["place"][1])
        self._state = dict(state["policy_state"])
        self._queue = deque(
            PlannedBatch(**{**b, "decision": Decision(**b["decision"])}) for b in state["queue"]
        )
        self._rows = {step: dict(row) for step, row in state["rows"]}
        self._exhausted = -1
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
        """The batch of `step`, deciding it and those before it where that has not been done."""
        while self._planned <= step:
            self._queue.append(self._decide())
        if not self._queue or step < self._queue[0].step:
            raise RuntimeError(
                f"drawing batch {step}: it was stepped before; this iterator is out of date, make a new one"
            )
        return self._queue[step - self._queue[0].step]

    def _decide(self) -> PlannedBatch:
        step, (epoch, start) = self._planned, self._place
        visible = step - self.lag  # steps before this one are finished and may be seen
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
        left = self.length - start
        size = left if left - decision.batch_size < self.world_size else decision.batch_size
        self._planned += 1
        self._place = (epoch, start + size) if size < left else (epoch + 1, 0)
        return PlannedBatch(step, epoch, start, size, decision)

    def _order(self, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        if not self.shuffle:
            return np.arange(self.length)
        return np.random.default_rng((self.seed, epoch)).permutation(self.length)

    def _apply(self) -> Decision:
        """Set the current batch's rate."""
        decision = self.current.decision
        if self._optimizer is None:
            return decision
        if len(self._optimizer.param_groups) != len(self._ratios):
            raise RuntimeError(
                f"setting the rate: the optimizer has {len(self._optimizer.param_groups)} parameter groups, "
                f"{len(self._ratios)} when it was attached; attach it again after adding one"
            )
        for group, ratio in zip(self._optimizer.param_groups, self._ratios, strict=True):
            if hasattr(group["lr"], "fill_"):  # capturable optimizers keep the rate in a tensor
                group["lr"].fill_(decision.lr * ratio)
            else:
                group["lr"] = decision.lr * ratio
        return decision
