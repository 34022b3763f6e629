"""Images held as bytes in memory: normalised, and cropped and flipped, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

PADDING = 4


@dataclass(frozen=True)
class Images:
    """Labelled images of one size.

    Args:
        pixels: (n, c, h, w) uint8 or float32.
        labels: (n,) int64.
        mean: A channel's, subtracted.
        std: A channel's, divided by.
        augment: Whether training batches are padded by 4, cropped and flipped at random (He et al. 2016).
    """

    pixels: Tensor
    labels: Tensor
    mean: Sequence[float]
    std: Sequence[float]
    augment: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor, epoch: int | None = None, seed: int = 0) -> tuple[Tensor, Tensor]:
        """(images (n, c, h, w) float32, labels (n,)); augmented where `epoch` is given."""
        shape = (1, -1, 1, 1)
        pixels = self.pixels[indices].float()
        pixels = pixels.sub_(torch.tensor(self.mean).view(shape)).div_(torch.tensor(self.std).view(shape))
        if self.augment and epoch is not None:
            pixels = cropped_and_flipped(pixels, draws(indices, epoch, seed))
        return pixels, self.labels[indices]


def draws(indices: Tensor, epoch: int, seed: int) -> Tensor:
    """A pseudo-random 62-bit number for each sample: a function of seed, epoch and index alone."""
    return _mixed(_mixed(_mixed(torch.tensor(seed)) + epoch) + indices) & (2**62 - 1)


def _mixed(x: Tensor) -> Tensor:
    """The finaliser of SplitMix64 (Steele et al. 2014) on int64, which wraps as it should."""
    x = x.long() + _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shifted(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shifted(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def cropped_and_flipped(images: Tensor, numbers: Tensor) -> Tensor:
    """Each image moved by up to 4 pixels in either direction (zeros come in) and mirrored or not.

    Args:
        images: (n, c, h, w), normalised: the padding is the mean.
        numbers: (n,) random non-negative integers.
    """
    n, channels, height, width = images.shape
    places = 2 * PADDING + 1
    top, left, flip = numbers % places, numbers // places % places, numbers // places**2 % 2
    rows = top[:, None] + torch.arange(height)
    columns = torch.arange(width).expand(n, width)
    columns = left[:, None] + torch.where(flip[:, None] == 1, columns.flip(1), columns)
    padded = F.pad(images, (PADDING,) * 4)
    samples, planes = torch.arange(n)[:, None, None, None], torch.arange(channels)[None, :, None, None]
    return padded[samples, planes, rows[:, None, :, None], columns[:, None, None, :]]
