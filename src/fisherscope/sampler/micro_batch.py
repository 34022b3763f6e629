"""Micro-batches: parts of a batch too large for memory, whose gradients add up to it."""

from collections.abc import Iterator, Mapping
from typing import Any


def micro_batches(batch: Any, limit: int) -> Iterator[tuple[Any, float]]:
    """Split a batch into parts of at most `limit` samples, each with its share of the samples.

    With a mean loss, `(share * loss(part)).backward()` over all parts gives the whole batch's gradient.

    Args:
        batch: What a DataLoader yields: a tensor or array, a list of plain samples, or a tuple, list or
            mapping of these; samples along the first dimension.
        limit: Largest number of samples in a part, at least 1.

    Yields:
        A part in the structure of the batch, and its share of the batch's samples, in (0, 1]. Parts differ by
        at most one sample.

    Raises:
        ValueError: `limit` is below 1, or the batch's members disagree on the number of samples.

    Cost: slices, no copies of tensors.

    Example:
        ```python
        from fisherscope.sampler import micro_batches

        batch = torch.randn(10, 3), torch.arange(10)
        assert [(len(x), share) for (x, y), share in micro_batches(batch, 5)] == [(5, 0.5), (5, 0.5)]
        ```
    """
    if limit < 1:
        raise ValueError(f"splitting a batch: limit={limit!r} must be at least 1 sample")
    size = _samples(batch)
    parts = -(-size // limit)
    for part in range(parts):
        begin, end = part * size // parts, (part + 1) * size // parts
        yield _slice(batch, begin, end), (end - begin) / size


def _is_nested(batch: Any) -> bool:
    """Return whether a list or tuple holds batches rather than samples."""
    return isinstance(batch, tuple | list) and all(
        hasattr(member, "shape") or isinstance(member, Mapping | tuple | list) for member in batch
    )


def _samples(batch: Any) -> int:
    """Return the number of samples in a batch."""
    if not isinstance(batch, Mapping) and not _is_nested(batch):
        return len(batch)
    counts = sorted(
        {_samples(member) for member in (batch.values() if isinstance(batch, Mapping) else batch)}
    )
    if len(counts) != 1:
        raise ValueError(
            f"splitting a batch: its members hold {counts} samples; expected one number, samples along the "
            "first dimension of each; split it by hand if it is built differently"
        )
    return counts[0]


def _slice(batch: Any, begin: int, end: int) -> Any:
    """Return samples [begin, end) of a batch, in its structure."""
    if isinstance(batch, Mapping):
        return {key: _slice(value, begin, end) for key, value in batch.items()}
    if not _is_nested(batch):
        return batch[begin:end]
    members = [_slice(member, begin, end) for member in batch]
    return members if isinstance(batch, list) else tuple(members)
