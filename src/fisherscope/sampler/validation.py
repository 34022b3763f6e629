"""What is refused: data that cannot be counted, schedules larger than the data, a place not its own."""

from collections.abc import Sized
from types import FrameType

from fisherscope.policy import Observation, Policy


def refuse_sizes_beyond(policy: Policy, length: int) -> None:
    """Say now, not in a late stage, that a schedule asks for more than the data.

    Raises:
        ValueError: It does at one of a hundred places of the run.
    """
    if policy.closed_loop:
        return
    state, whole = policy.init(), policy.rate.epochs * length
    for hundredth in range(100):
        epoch, start = divmod(hundredth * whole // 100, length)
        state, decision = policy.update(state, Observation(epoch, start, length))
        if decision.batch_size > length:
            raise ValueError(
                f"building a DynamicBatchSampler: {policy.name!r} asks for {decision.batch_size} samples a "
                f"batch in epoch {epoch}, the data have {length}; choose other sizes, or add "
                f"+bounds:max={length} to the name"
            )


def length_of(data: Sized | int) -> int:
    """Samples in `data`, or `data` if it is their number.

    Raises:
        TypeError: It has no length, or is a DataLoader.
        ValueError: It is empty.
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


def refuse_as_sampler(sampler: object, drawing: FrameType | None) -> None:
    """Say that a batch sampler was handed to a DataLoader as `sampler=`, whose batch size would be on top.

    DataLoader does not tell a sampler its place; who draws from it does. `sampler=` with `batch_size=None`
    draws whole batches and is fine.

    Args:
        sampler: The batch sampler.
        drawing: The frame that asks it for a batch.

    Raises:
        TypeError: torch's BatchSampler does, to make batches of batches.
    """
    from torch.utils.data import BatchSampler

    asking = None if drawing is None else drawing.f_locals.get("self")
    if isinstance(asking, BatchSampler) and asking.sampler is sampler:
        raise TypeError(
            "drawing from a DynamicBatchSampler: it was given to DataLoader as sampler=, where it would make "
            "batches of batches; write  DataLoader(data, batch_sampler=sampler)  without batch_size, shuffle "
            "and drop_last"
        )
