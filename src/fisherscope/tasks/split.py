"""Splits of a task's data: samples by number, some of them, and in seeded order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


class Split(Protocol):
    """Give samples by number; `len` is how many there are; see `Split.batch`.

    Example:
        ```python
        split = fs.tasks.get("digits/mlp").validation
        images, labels = split.batch(torch.tensor([0, 1, 2]))
        assert len(images) == len(labels) == 3 < len(split)
        ```
    """

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor, epoch: int | None = None, seed: int = 0) -> Any:
        """Return the samples `indices` as the task's loss takes them.

        Args:
            indices: (n,) int64.
            epoch: If given, samples are augmented: a pure function of seed, epoch and index.
            seed: Random seed of the augmentation.

        Returns:
            The batch; for the built-in tasks a tuple of tensors (n, ...), float32 images and int64 labels.
        """
        ...


@dataclass(frozen=True)
class Subset:
    """Select some samples of another split and renumber them."""

    whole: Split
    numbers: Tensor  # (n,) int64, in `whole`

    def __len__(self) -> int:
        return len(self.numbers)

    def to(self, device: torch.device | str) -> Subset:
        """Copy the split to `device`."""
        return Subset(split_on(self.whole, device), self.numbers.to(device))

    def batch(self, indices: Tensor, epoch: int | None = None, seed: int = 0) -> Any:
        """Return samples, as `Split.batch`."""
        return self.whole.batch(self.numbers[indices.to(self.numbers.device)], epoch, seed)


@dataclass(frozen=True)
class Stream:
    """Draw another split in a stream of seeded permutations, cut into epochs of any length.

    Args:
        whole: The split.
        length: Samples of an epoch; sample i of epoch e is position e·length + i of the stream.
        seed: Seed of the permutations.
    """

    whole: Split
    length: int
    seed: int

    def __len__(self) -> int:
        return self.length

    def to(self, device: torch.device | str) -> Stream:
        """Copy the split to `device`."""
        return Stream(split_on(self.whole, device), self.length, self.seed)

    def batch(self, indices: Tensor, epoch: int | None = None, seed: int = 0) -> Any:
        """Return samples, as `Split.batch`; without an epoch those of the first."""
        samples = len(self.whole)
        positions = (epoch or 0) * self.length + indices.cpu()
        passes = positions // samples
        numbers = torch.empty_like(positions)
        for number in passes.unique().tolist():
            part = passes == number
            numbers[part] = _permutation(samples, self.seed, number)[positions[part] % samples]
        return self.whole.batch(numbers, epoch, seed)


@lru_cache(maxsize=4)
def _permutation(samples: int, seed: int, number: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng((seed, number, samples)).permutation(samples))


def split_on(split: Split, device: torch.device | str) -> Split:
    """Copy a split to `device` if it can be copied."""
    copy: Split = split.to(device) if hasattr(split, "to") else split
    return copy


def seeded_order(samples: int, seed: int = 0) -> Tensor:
    """Permute the numbers of the samples, by their count and the seed alone; (samples,) int64."""
    return torch.from_numpy(np.random.default_rng((seed, samples)).permutation(samples))


def hold_out(split: Split, samples: int) -> tuple[Split, Split]:
    """Hold out `samples` of a seeded permutation; return (training rest, validation)."""
    order = seeded_order(len(split), seed=1)
    return Subset(split, order[samples:].sort().values), Subset(split, order[:samples].sort().values)
