"""Samples by number: of a split, of a data set with its own collation, or of one batch; and of a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from fisherscope.gram.batch_axis.forward_call import ForwardCall, entry_of
from fisherscope.tasks.errors import TaskError
from fisherscope.tasks.task import Split, seeded_order
from fisherscope.tasks.user_data import split


class BatchSource:
    """Samples by number: of a split, a data set with its own collation, or one batch."""

    def __init__(self, samples: int, take: Callable[[Tensor], Any], whole: Callable[[], Any]) -> None:
        self.samples, self.take, self.whole = samples, take, whole

    def batches(self, size: int, seed: int) -> Iterator[Any]:
        """As `Subject.batches`."""
        for epoch in count():
            order = seeded_order(self.samples, seed + epoch)
            if len(order) < size:
                yield self.take(order.repeat(-(-size // len(order)))[:size])
            else:
                yield from map(self.take, order[: len(order) // size * size].split(size))


class StreamSource(BatchSource):
    """An iterable data set: no samples by number."""

    def __init__(self, data: IterableDataset[Any], collate: Callable[[list[Any]], Any]) -> None:
        self.data, self.collate = data, collate

    def batches(self, size: int, seed: int) -> Iterator[Any]:
        """Consecutive samples; begun anew where the stream ends."""
        while True:
            samples, seen = iter(self.data), 0
            while len(group := list(islice(samples, size))) == size:
                seen += 1
                yield self.collate(group)
            if not seen:
                raise TaskError(f"drawing a batch of {size} samples: the stream ends before that")


def of_split(data: Split) -> BatchSource:
    """Samples of a split, augmented as in the first epoch."""
    return BatchSource(
        len(data), lambda chosen: data.batch(chosen, 0), lambda: data.batch(torch.arange(len(data)))
    )


def of_batch(model: nn.Module, batch: Any, dim: int) -> BatchSource:
    """Samples of one batch, along dimension `dim` of its tensors.

    Raises:
        TaskError: It holds no tensor that has one.
    """
    entry = entry_of(model, (batch,), {}, dim)
    if entry is None:
        raise TaskError(
            "the batch holds no tensor with samples; expected tensors, in tuples, lists or dicts, with the "
            f"samples along dimension {dim} (say another with 'record': {{'batch': 1}})"
        )
    return BatchSource(entry.samples, lambda chosen: _some(entry, chosen), lambda: batch)


def _some(entry: ForwardCall, chosen: Tensor) -> Any:
    return entry.subset(chosen.tolist())[0][0]


def of_data(data: Any) -> BatchSource:
    """Samples of a data set, a DataLoader, or tensors with samples first.

    Raises:
        TaskError: It is none of these.
    """
    if isinstance(data, DataLoader):
        inner, collate = data.dataset, data.collate_fn or (lambda samples: samples[0])
    else:
        inner, collate = data, None
    if isinstance(inner, IterableDataset):
        return StreamSource(inner, collate or torch.utils.data.default_collate)
    if collate is None:
        return of_split(split(inner, "data"))
    taken: Callable[[Tensor], Any] = lambda chosen: collate([inner[int(i)] for i in chosen])  # noqa: E731
    return BatchSource(len(inner), taken, lambda: taken(torch.arange(len(inner))))  # type: ignore[arg-type]
