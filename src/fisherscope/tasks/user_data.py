"""Convert a user's data to a split: tensors, a map-style dataset, or its loader."""

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
from fisherscope.tasks.split import Split


def as_split(data: Any, where: str) -> Split:
    """Convert a user's data to a split.

    Args:
        data: A split, a tuple or mapping of tensors (samples first), a map-style dataset, or a DataLoader of
            one.
        where: What the data are, for messages.

    Returns:
        The split.

    Raises:
        TaskError: It is something else, or holds no sample.
    """
    if isinstance(data, Mapping | tuple):  # a list may be samples, one by one
        _check_tensors(data, where)
    if isinstance(data, DataLoader):
        _check_loader(data, where)
    if hasattr(data, "batch") and hasattr(data, "__len__"):
        split: Any = data
    elif isinstance(data, DataLoader):
        split = DatasetSplit(data.dataset, checked_collation(data.collate_fn or default_collate))
    elif isinstance(data, Mapping | tuple | list) and _are_samples(data):
        split = TensorSplit(data)
    elif type(data) is TensorDataset:
        split = TensorSplit(data.tensors)
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        split = DatasetSplit(data)
    else:
        raise TaskError(
            f"{where}: received {type(data).__name__}; expected a tuple or dict of tensors (samples "
            "first), a dataset with a length, or a DataLoader of one"
        )
    if len(split) < 1:
        raise TaskError(f"{where}: it holds no sample; give at least 1")
    checked: Split = split
    return checked


def _check_loader(loader: DataLoader[Any], where: str) -> None:
    """Refuse a loader without numbered samples, or with a sampler of its own."""
    if isinstance(loader.dataset, IterableDataset):
        raise TaskError(f"{where}: received a loader of a stream; expected a dataset with samples by number")
    if loader.batch_size is None or not isinstance(loader.sampler, SequentialSampler | RandomSampler):
        raise TaskError(
            f"{where}: received a loader that draws by its own {type(loader.sampler).__name__}, which "
            "training would not follow; give only the samples to train on, such as "
            "torch.utils.data.Subset(dataset, indices)"
        )


def _check_tensors(data: Any, where: str) -> None:
    """Refuse arrays, tensors of different lengths, and mappings of anything else."""
    values = list(data.values()) if isinstance(data, Mapping) else list(data)
    if any(isinstance(value, np.ndarray) for value in values):
        raise TaskError(
            f"{where}: received NumPy arrays; expected tensors: convert them with torch.from_numpy"
        )
    if (
        values
        and all(isinstance(value, Tensor) and value.dim() for value in values)
        and not _are_samples(data)
    ):
        lengths = ", ".join(str(len(value)) for value in values)
        raise TaskError(f"{where}: its tensors have {lengths} samples; expected the same number in each")
    if isinstance(data, Mapping) and not _are_samples(data):
        kinds = ", ".join(f"{key!r}: {type(value).__name__}" for key, value in data.items())
        raise TaskError(f"{where}: received a dict of {kinds or 'nothing'}; expected tensors, samples first")


def _are_samples(data: Any) -> bool:
    """Return whether data are tensors of one length."""
    values = list(data.values()) if isinstance(data, Mapping) else list(data)
    lengths = {len(value) for value in values if isinstance(value, Tensor)}
    return bool(values) and all(isinstance(value, Tensor) for value in values) and len(lengths) == 1


class TensorSplit:
    """Give samples of tensors, along their first dimension, in a tuple or mapping."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        values = self.data.values() if isinstance(self.data, Mapping) else self.data
        return len(next(iter(values)))

    def to(self, device: torch.device | str) -> TensorSplit:
        """Copy the tensors to `device`."""
        return TensorSplit(self._each(lambda value: value.to(device)))

    def batch(self, indices: Tensor, epoch: int | None = None, seed: int = 0) -> Any:
        """Return the samples' rows, in the same structure."""
        return self._each(lambda value: value[indices.to(value.device)])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Any:
        if isinstance(self.data, Mapping):
            return {key: change(value) for key, value in self.data.items()}
        return tuple(change(value) for value in self.data)


def checked_collation(collate: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    """Return a collation that says what to write where torch's own refuses the samples.

    Args:
        collate: The collation; one of the user's own is returned as it is.

    Returns:
        The collation.

    Raises:
        TaskError: On a call: the default collation does not take these samples.
    """
    if collate is not default_collate:
        return collate

    def collate_or_explain(samples: list[Any]) -> Any:
        try:
            return collate(samples)
        except (TypeError, RuntimeError, ValueError, KeyError) as error:
            kind = type(samples[0]).__name__ if samples else "nothing"
            raise TaskError(
                f"making a batch of {len(samples)} samples ({kind}): torch's default collation raised "
                f"{type(error).__name__}: {str(error)[:200]}. Give a DataLoader with your collate_fn: "
                "'data': DataLoader(dataset, collate_fn=…)"
            ) from error

    return collate_or_explain


class DatasetSplit:
    """Give samples of a map-style dataset, collated as a DataLoader does."""

    def __init__(self, data: Any, collate: Callable[[list[Any]], Any] | None = None) -> None:
        self.data, self.collate = data, collate or checked_collation(default_collate)

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, indices: Tensor, epoch: int | None = None, seed: int = 0) -> Any:
        """Return samples; their random draws depend on seed, epoch and index alone."""
        seeds = draws(indices, -1 if epoch is None else epoch, seed).tolist()
        # CUDA's generators are not seeded here, so they must run on, or each batch would draw the same.
        with preserve_random_state(cuda=False):
            return self.collate(
                [self._sample(k, sample_seed) for k, sample_seed in zip(indices.tolist(), seeds, strict=True)]
            )

    def _sample(self, index: int, seed: int) -> Any:
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed & 0xFFFFFFFF)  # noqa: NPY002  (the generator that such data sets use)
        random.seed(seed)
        return self.data[index]
