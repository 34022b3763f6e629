"""Normalise, crop and mirror images on the device that holds them, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

PADDING = 4


@dataclass(frozen=True)
class Images:
    """Hold labelled images of one size.

    Args:
        pixels: (n, c, h, w) uint8 or float32.
        labels: (n,) int64, on the same device.
        mean: Mean of each channel, which is subtracted.
        std: Standard deviation of each channel, which is divided by.
        augment: Whether training batches are padded by 4 pixels and cropped at random (He et al. 2016).
        mirror: Whether they are also mirrored at random; digits must not be.
    """

    pixels: Tensor
    labels: Tensor
    mean: Sequence[float]
    std: Sequence[float]
    augment: bool = False
    mirror: bool = True

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> Images:
        """Copy the images to `device`, where their batches are then made."""
        return replace(self, pixels=self.pixels.to(device), labels=self.labels.to(device))

    def batch(self, indices: Tensor, epoch: int | None = None, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Return images (n, c, h, w) float32, augmented if `epoch` is given, and labels (n,)."""
        indices = indices.to(self.labels.device, non_blocking=True)
        mean, std = self._scale
        pixels = self.pixels.index_select(0, indices).to(torch.float32).sub_(mean).div_(std)
        if self.augment and epoch is not None:
            pixels = crop_and_mirror(pixels, draws(indices, epoch, seed), self.mirror)
        return pixels, self.labels.index_select(0, indices)

    @cached_property
    def _scale(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, (1, c, 1, 1), on the pixels' device."""
        mean, std = (
            torch.tensor(v, device=self.pixels.device).view(1, -1, 1, 1) for v in (self.mean, self.std)
        )
        return mean, std


def draws(indices: Tensor, epoch: int, seed: int) -> Tensor:
    """Draw a pseudo-random number for each sample from seed, epoch and index alone.

    Integer arithmetic only, so that every device and any number of threads gives the same.

    Returns:
        (n,) int64, below 2**62.
    """
    return _splitmix64(indices + _stream(seed, epoch)) & (2**62 - 1)


@lru_cache(maxsize=16)
def _stream(seed: int, epoch: int) -> int:
    return int(_splitmix64(_splitmix64(torch.tensor(seed)) + epoch))


def _splitmix64(x: Tensor) -> Tensor:
    """Apply the finaliser of SplitMix64 (Steele et al. 2014) to int64, which wraps around."""
    x = x.long() + _as_int64(0x9E3779B97F4A7C15)
    x = (x ^ _shift_right(x, 30)) * _as_int64(0xBF58476D1CE4E5B9)
    x = (x ^ _shift_right(x, 27)) * _as_int64(0x94D049BB133111EB)
    return x ^ _shift_right(x, 31)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _as_int64(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def crop_and_mirror(images: Tensor, numbers: Tensor, mirror: bool = True) -> Tensor:
    """Pad each image by 4 zeros, crop it at random to its size, and mirror half of them.

    Args:
        images: (n, c, h, w), normalised, so that the padding is the mean.
        numbers: (n,) random non-negative integers.
        mirror: Whether to mirror.

    Returns:
        (n, c, h, w).
    """
    n, channels, height, width = images.shape
    places, padded_width = 2 * PADDING + 1, width + 2 * PADDING
    top, left, flip = numbers % places, numbers // places % places, numbers // places**2 % 2
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(n, width)
    if mirror:
        columns = torch.where(flip[:, None] == 1, columns.flip(1), columns)
    columns = left[:, None] + columns
    pixels = (rows[:, :, None] * padded_width + columns[:, None, :]).view(n, 1, height * width)
    padded = F.pad(images, (PADDING,) * 4).flatten(2)
    return padded.gather(2, pixels.expand(n, channels, -1)).view(n, channels, height, width)
