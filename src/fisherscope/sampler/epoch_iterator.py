"""The batches of one epoch, as a DataLoader draws them."""

from typing import TYPE_CHECKING, Any

import numpy as np

from fisherscope.guard import repeat_once
from fisherscope.sampler.planned_batch import PlannedBatch

if TYPE_CHECKING:
    from fisherscope.sampler.dynamic_batch_sampler import DynamicBatchSampler


class EpochIterator:
    """Iterate over the batches of an epoch, from the first that was not stepped.

    It is no generator: one that raised is over, and can't be asked again.
    """

    def __init__(self, sampler: "DynamicBatchSampler") -> None:
        self._sampler = sampler
        self._batch: PlannedBatch | None = None  # the latest
        self._order: np.ndarray[Any, np.dtype[np.int64]] | None = None

    def __iter__(self) -> "EpochIterator":
        return self

    @repeat_once
    def __next__(self) -> list[int]:
        sampler, batch = self._sampler, self._batch
        if batch is None or self._order is None:
            self._batch, self._order = sampler._begin_epoch()
        elif batch.start + batch.size == sampler.length:
            sampler._last_epoch = batch.epoch
            raise StopIteration
        else:
            self._batch = sampler._plan(batch.step + 1)
        begin, end = self._batch.start, self._batch.start + self._batch.size
        drawn: list[int] = self._order[begin:end][sampler.rank :: sampler.world_size].tolist()
        return drawn
