"""Rows of inputs recognised by where they lie in memory: parts of one batch, or the same rows again."""

from __future__ import annotations

import torch
from torch import Tensor


class StorageRows:
    """Which sample each row of the step's inputs is, by address.

    Chunks of one tensor hold different samples.
    """

    def __init__(self) -> None:
        self._noted: list[
            tuple[Tensor, int, Tensor]
        ] = []  # keeps the tensors, so that an address stays theirs
        self._sample_of: dict[tuple[int, int], int] = {}
        self._storages: set[int] = set()

    def remember(self, tensor: Tensor, dim: int, ids: Tensor) -> None:
        """Note the samples of a tensor's rows."""
        self._noted.append((tensor, dim, ids))

    def samples_of(self, tensor: Tensor, dim: int) -> Tensor | None:
        """Return the samples of a tensor's rows by its storage.

        Returns:
            (rows,), -1 for new rows; None where the storage is new.
        """
        for noted in self._noted:
            self._index(*noted)
        self._noted = [(noted, -1, noted.new_zeros(0, dtype=torch.long)) for noted, *_ in self._noted]
        address, offsets = _rows(tensor, dim)
        if address not in self._storages:
            return None
        return torch.tensor([self._sample_of.get((address, offset), -1) for offset in offsets])

    def _index(self, tensor: Tensor, dim: int, ids: Tensor) -> None:
        if dim < 0:
            return
        address, offsets = _rows(tensor, dim)
        self._storages.add(address)
        for offset, sample in zip(offsets, ids.tolist(), strict=True):
            self._sample_of.setdefault((address, offset), sample)


def _rows(tensor: Tensor, dim: int) -> tuple[int, list[int]]:
    start, stride = int(tensor.storage_offset()), tensor.stride(dim)
    return tensor.untyped_storage().data_ptr(), [start + k * stride for k in range(tensor.shape[dim])]
