"""Draw batches of any size from a split, a data set, one batch, or a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, default_collate

from fisherscope.gram.batch_axis.forward_call import ForwardCall, entry_of
from fisherscope.tasks.errors import TaskError
from fisherscope.tasks.split import Split, seeded_order
from fisherscope.tasks.user_data import as_split, checked_collation


class BatchSource:
    """Draw batches from numbered samples.

    Args:
        samples: Number of samples.
        take: Makes a batch of the samples with these numbers, (n,) int64.
        all_samples: Makes the batch of all samples.
    """

    def __init__(self, samples: int, take: Callable[[Tensor], Any], all_samples: Callable[[], Any]) -> None:
        self.samples, self.take, self.all_samples = samples, take, all_samples

    def batches(self, size: int, seed: int) -> Iterator[Any]:
        """Draw batches, as `Workload.batches`."""
        for epoch in count():
            order = seeded_order(self.samples, seed + epoch)
            if len(order) < size:
                yield self.take(order.repeat(-(-size // len(order)))[:size])
            else:
                yield from map(self.take, order[: len(order) // size * size].split(size))


class StreamSource(BatchSource):
    """Draw batches from an iterable data set, whose samples have no numbers.

    Args:
        data: The data set.
        collate: Makes a batch of a list of samples.
    """

    def __init__(self, data: IterableDataset[Any], collate: Callable[[list[Any]], Any]) -> None:
        self.data, self.collate = data, collate

    def head(self, count: int) -> BatchSource:
        """Return the stream's first samples, with numbers.

        Args:
            count: How many to take at most.

        Returns:
            A source of them.

        Raises:
            TaskError: The stream holds none.
        """
        first = list(islice(self.data, count))
        if not first:
            raise TaskError("drawing samples: the stream holds none; expected at least 1")

        def take(indices: Tensor) -> Any:
            return self.collate([first[int(k)] for k in indices])

        return BatchSource(len(first), take, lambda: take(torch.arange(len(first))))

    def batches(self, size: int, seed: int) -> Iterator[Any]:
        """Draw consecutive samples; the stream starts over where it ends.

        Raises:
            TaskError: The stream holds fewer samples than a batch.
        """
        while True:
            samples, batch_count = iter(self.data), 0
            while len(group := list(islice(samples, size))) == size:
                batch_count += 1
                yield self.collate(group)
            if not batch_count:
                raise TaskError(f"drawing a batch of {size} samples: the stream ends before that")


def split_source(data: Split) -> BatchSource:
    """Draw from a split, augmented as in the first epoch."""
    return BatchSource(
        len(data), lambda indices: data.batch(indices, 0), lambda: data.batch(torch.arange(len(data)))
    )


def single_batch_source(model: nn.Module, batch: Any, dim: int) -> BatchSource:
    """Draw samples of one batch, along dimension `dim` of its tensors.

    Returns:
        The source.

    Raises:
        TaskError: The batch holds no tensor with this dimension.
    """
    forward_call = entry_of(model, (batch,), {}, dim)
    if forward_call is None:
        raise TaskError(
            "the batch holds no tensor with samples; expected tensors, in tuples, lists or dicts, with the "
            f"samples along dimension {dim} (name another with 'record': {{'batch': 1}})"
        )
    return BatchSource(forward_call.samples, lambda indices: _subset(forward_call, indices), lambda: batch)


def _subset(forward_call: ForwardCall, indices: Tensor) -> Any:
    return forward_call.subset(indices.tolist())[0][0]


def data_source(data: Any) -> BatchSource:
    """Draw samples of a data set, a DataLoader, or tensors with samples first.

    Returns:
        The source.

    Raises:
        TaskError: The data are none of these.
    """
    if isinstance(data, DataLoader):
        if data.batch_size is None and data.batch_sampler is None:
            raise TaskError(
                "drawing batches of any size: received a DataLoader that yields what the data set makes "
                "(batch_size=None); give one of its batches as 'batch', or a data set of samples"
            )
        inner, collate = data.dataset, checked_collation(data.collate_fn or default_collate)
    else:
        inner, collate = data, None
    if isinstance(inner, IterableDataset):
        return StreamSource(inner, collate or checked_collation(default_collate))
    if collate is None:
        return split_source(as_split(inner, "data"))

    def take(indices: Tensor) -> Any:
        return collate([inner[int(i)] for i in indices])

    return BatchSource(len(inner), take, lambda: take(torch.arange(len(inner))))  # type: ignore[arg-type]
