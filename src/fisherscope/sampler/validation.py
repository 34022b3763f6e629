"""Argument checks of the sampler: data, sizes, and use as a DataLoader's batch sampler."""

from collections.abc import Iterator, Sequence, Sized
from types import FrameType
from typing import Any

import numpy as np

from fisherscope.policy import Decision, Observation, Policy


def check_arguments(policy: object, length: int, seed: int, lag: int, rank: int, world_size: int) -> None:
    """Raise an error for an argument of a DynamicBatchSampler that is outside its range.

    Raises:
        TypeError: `policy` is not a policy.
        ValueError: Another argument is outside its range.
    """
    if not isinstance(policy, Policy):
        raise TypeError(
            f"building a DynamicBatchSampler: {policy!r} is not a policy; "
            "make one from a name by fisherscope.policy.parse(name, lr=…, epochs=…)"
        )
    if not 0 <= rank < world_size <= length:
        raise ValueError(
            f"building a DynamicBatchSampler: rank={rank}, world_size={world_size}, {length} samples"
            "; expected 0 <= rank < world_size <= samples"
        )
    if lag < 0 or seed < 0:
        raise ValueError(f"building a DynamicBatchSampler: lag={lag}, seed={seed}; neither may be negative")


def planned_decisions(policy: Policy, length: int) -> Iterator[tuple[int, Decision]]:
    """Play a schedule through at a hundred moments of the run; of a closed loop, only its first.

    Args:
        policy: The policy.
        length: Samples in an epoch.

    Yields:
        The epoch and the decision.
    """
    state, whole = policy.init(), policy.rate.epochs * length
    for hundredth in range(1 if policy.closed_loop else 100):
        epoch, start = divmod(hundredth * whole // 100, length)
        state, decision = policy.update(state, Observation(epoch, start, length))
        yield epoch, decision


def refuse_sizes_beyond(policy: Policy, length: int) -> None:
    """Raise an error now, not in a late stage, if a schedule asks for more than the data.

    Raises:
        ValueError: It does at one of a hundred moments of the run.
    """
    if policy.closed_loop:
        return
    for epoch, decision in planned_decisions(policy, length):
        if decision.batch_size > length:
            raise ValueError(
                f"building a DynamicBatchSampler: {policy.name!r} asks for {decision.batch_size} samples per "
                f"batch in epoch {epoch}, the data have {length}; choose other sizes, or add "
                f"+bounds:max={length} to the name"
            )


def length_of(data: Sized | int) -> int:
    """Return the number of samples in `data`, or `data` if it is that number.

    Raises:
        TypeError: The data have no length, or are a DataLoader.
        ValueError: The data are empty.
    """
    if hasattr(data, "batch_sampler"):
        raise TypeError(
            "building a DynamicBatchSampler: received a DataLoader; give its dataset (loader.dataset)"
        )
    try:
        length = data if isinstance(data, int) else len(data)
    except TypeError as error:
        raise TypeError(
            f"building a DynamicBatchSampler: {type(data).__name__} has no length; give a map-style dataset "
            "or the number of samples"
        ) from error
    if length < 1:
        raise ValueError("building a DynamicBatchSampler: the dataset is empty")
    return length


def check_order(order: Sequence[int], length: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Return the order of an epoch's samples that a function gave.

    Raises:
        ValueError: It does not hold each sample once.
    """
    samples = np.asarray(order, dtype=np.int64)
    if samples.shape != (length,) or not np.array_equal(np.sort(samples), np.arange(length)):
        raise ValueError(
            f"ordering an epoch: order= gave {samples.size} samples; expected each of 0 to {length - 1} once"
        )
    return samples


def refuse_as_sampler(sampler: object, caller: FrameType | None) -> None:
    """Raise an error if a batch sampler was passed to a DataLoader as `sampler=`.

    A DataLoader does not tell a sampler its role; the caller that draws from it shows it. `sampler=` with
    `batch_size=None` draws whole batches and is fine.

    Args:
        sampler: The batch sampler.
        caller: The frame that asks it for a batch.

    Raises:
        TypeError: The caller is torch's BatchSampler, which would make batches of batches.
    """
    from torch.utils.data import BatchSampler

    owner = None if caller is None else caller.f_locals.get("self")
    if isinstance(owner, BatchSampler) and owner.sampler is sampler:
        raise TypeError(
            "drawing from a DynamicBatchSampler: it was passed to DataLoader as sampler=, which would make "
            "batches of batches; write  DataLoader(data, batch_sampler=sampler)  without batch_size, shuffle "
            "and drop_last"
        )
