"""Data of a user as a split: tensors in a tuple or mapping, a map-style dataset, its loader."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    default_collate,
)

from fisherscope.model_state import preserve_random_state
from fisherscope.tasks.datasets.images import draws
from fisherscope.tasks.errors import TaskError
from fisherscope.tasks.task import Split


def split(data: Any, place: str) -> Split:
    """Data of a user as a split: one already, tensors in a tuple or mapping, a map-style dataset, its loader.

    Raises:
        TaskError: None of these, or empty.
    """
    if isinstance(data, Mapping | tuple):  # a list may be samples, one by one
        _check_columns(data, place)
    if isinstance(data, DataLoader):
        _check_loader(data, place)
    if hasattr(data, "batch") and hasattr(data, "__len__"):
        found: Any = data
    elif isinstance(data, DataLoader):
        found = DatasetSplit(data.dataset, data.collate_fn or default_collate)
    elif isinstance(data, Mapping | tuple | list) and _tensors(data):
        found = TensorSplit(data)
    elif type(data) is TensorDataset:
        found = TensorSplit(data.tensors)
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        found = DatasetSplit(data)
    else:
        raise TaskError(
            f"{place}: received {type(data).__name__}; expected a tuple or dict of tensors (samples "
            "first), a dataset with a length, or a DataLoader of one"
        )
    if len(found) < 1:
        raise TaskError(f"{place}: it is empty")
    checked: Split = found
    return checked


def _check_loader(loader: DataLoader[Any], place: str) -> None:
    """Refuse what has no samples by number, and a choice of samples that would be lost."""
    if isinstance(loader.dataset, IterableDataset):
        raise TaskError(f"{place}: received a loader of a stream; expected a dataset with samples by number")
    if loader.batch_size is None or not isinstance(loader.sampler, SequentialSampler | RandomSampler):
        raise TaskError(
            f"{place}: received a loader that draws by its own {type(loader.sampler).__name__}, which "
            "training would not follow; give the samples themselves, such as "
            "torch.utils.data.Subset(dataset, indices)"
        )


def _check_columns(data: Any, place: str) -> None:
    """Refuse what can only be meant as columns of samples, and is none that can be taken."""
    values = list(data.values()) if isinstance(data, Mapping) else list(data)
    if any(isinstance(value, np.ndarray) for value in values):
        raise TaskError(
            f"{place}: received NumPy arrays; expected tensors: torch.from_numpy makes them of arrays"
        )
    if values and all(isinstance(value, Tensor) and value.dim() for value in values) and not _tensors(data):
        lengths = ", ".join(str(len(value)) for value in values)
        raise TaskError(f"{place}: its tensors have {lengths} samples; expected the same number in each")
    if isinstance(data, Mapping) and not _tensors(data):
        kinds = ", ".join(f"{key!r}: {type(value).__name__}" for key, value in data.items())
        raise TaskError(f"{place}: received a dict of {kinds or 'nothing'}; expected tensors, samples first")


def _tensors(data: Any) -> bool:
    values = list(data.values()) if isinstance(data, Mapping) else list(data)
    lengths = {len(value) for value in values if isinstance(value, Tensor)}
    return bool(values) and all(isinstance(value, Tensor) for value in values) and len(lengths) == 1


class TensorSplit:
    """Tensors with samples along the first dimension, in a tuple or mapping."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        values = self.data.values() if isinstance(self.data, Mapping) else self.data
        return len(next(iter(values)))

    def to(self, device: torch.device | str) -> TensorSplit:
        """The same rows on `device`."""
        return TensorSplit(self._each(lambda value: value.to(device)))

    def batch(self, indices: Tensor, epoch: int | None = None, seed: int = 0) -> Any:
        """The rows, in the structure that was given."""
        return self._each(lambda value: value[indices.to(value.device)])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Any:
        if isinstance(self.data, Mapping):
            return {key: change(value) for key, value in self.data.items()}
        return tuple(change(value) for value in self.data)


class DatasetSplit:
    """A map-style dataset, collated as a DataLoader does."""

    def __init__(self, data: Any, collate: Callable[[list[Any]], Any] = default_collate) -> None:
        self.data, self.collate = data, collate

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, indices: Tensor, epoch: int | None = None, seed: int = 0) -> Any:
        """The samples. What one draws at random (torch, numpy, random) follows from seed, epoch and index."""
        seeds = draws(indices, -1 if epoch is None else epoch, seed).tolist()
        # CUDA's generators are not seeded here, so they must run on, or each batch would draw the same.
        with preserve_random_state(cuda=False):
            return self.collate(
                [self._sample(k, drawn) for k, drawn in zip(indices.tolist(), seeds, strict=True)]
            )

    def _sample(self, index: int, seed: int) -> Any:
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed & 0xFFFFFFFF)  # noqa: NPY002  (the generator that such data sets draw from)
        random.seed(seed)
        return self.data[index]
