"""Codes that name samples: the scales of each sample's cotangent in the passes of one identification."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

Numbers = np.ndarray[Any, Any]
_JITTER = 0.25
"""Largest shift of a code from its place in an even grid, in grid steps.

Rows that mix two samples evenly then have a ratio that is no sample's code, but for a coincidence."""
TOLERANCE = 3e-4
"""How far a measured ratio may lie from a code (seen: 1e-15 in float64, 2e-5 in float32 in
ResNet-20 at batch size 128). One for both: networks in float64 compute parts in float32 nevertheless."""
_LOOSE = 0.2
"""How far the ratio of a negligible row may lie from a code, in grid steps."""
_COARSE = 0.3
"""The same in half precision, in steps between the digits."""
RESIDUAL_COARSE = 0.15
"""How far the scaled gradient of a row may be from a multiple of the unit one in half precision, relative."""


@dataclass(frozen=True)
class Codes:
    """A code for each sample: one pass, or two digits in two passes for coarse gradients.

    Args:
        scales: For each pass, (n,) float64 in [1, 2): what each sample's cotangent is multiplied by.
        base: How many values a digit has; 0 where one pass tells all samples apart.
        order: (n,) long: the sample of each number that the digits spell.
    """

    scales: list[Tensor]
    base: int
    order: Tensor

    def decode(self, ratios: list[Numbers]) -> Numbers:
        """Read samples off measured ratios, one array (rows,) a pass.

        Returns:
            The sample of each row, (rows,); -1 where none fits.
        """
        if not self.base:
            return self._nearest(ratios[0], TOLERANCE)
        number, fits = np.zeros(len(ratios[0]), dtype=np.int64), np.ones(len(ratios[0]), dtype=bool)
        for ratio in ratios:
            place = (ratio - 1) * self.base - 0.5
            digit = np.nan_to_num(place, nan=-1, posinf=-1, neginf=-1).round()
            fits &= (np.abs(place - digit) <= _COARSE) & (digit >= 0) & (digit < self.base)
            number = number * self.base + digit.astype(np.int64).clip(0, self.base - 1)
        fits &= number < len(self.order)
        return np.where(fits, self.order.numpy()[number.clip(max=len(self.order) - 1)], -1)

    @cached_property
    def _sorted_codes(self) -> tuple[Numbers, Numbers]:
        """The codes from the least to the largest, and their samples."""
        scales = self.scales[0].numpy()
        sample_of = np.argsort(scales)
        return scales[sample_of], sample_of

    def nearest(self, ratios: list[Numbers]) -> Numbers:
        """Read samples off ratios that are off by a part of the grid, where nothing weighs on it."""
        return self.decode(ratios) if self.base else self._nearest(ratios[0], _LOOSE / len(self.order))

    def _nearest(self, ratios: Numbers, tolerance: float) -> Numbers:
        ordered, sample_of = self._sorted_codes
        right = np.searchsorted(ordered, ratios).clip(max=len(ordered) - 1)
        left = (right - 1).clip(min=0)
        to_left, to_right = np.abs(ratios - ordered[left]), np.abs(ratios - ordered[right])
        nearest = np.where(to_left <= to_right, left, right)
        return np.where(np.minimum(to_left, to_right) <= tolerance, sample_of[nearest], -1)


def draw_codes(samples: int, generator: torch.Generator, coarse: bool = False) -> Codes:
    """Draw a code for each sample, in random order.

    Args:
        samples: Number of samples.
        generator: The recorder's own, so that the user's random state is not touched.
        coarse: Whether gradients have few bits (bfloat16, float16): two digits instead of a fine grid.

    Returns:
        The codes, of one pass or of two.
    """
    order = torch.randperm(samples, generator=generator)
    if coarse:
        base = max(math.isqrt(samples - 1) + 1, 2)
        number = torch.empty_like(order)
        number[order] = torch.arange(samples)
        digits = [number // base, number % base]
        return Codes([1 + (digit.double() + 0.5) / base for digit in digits], base, order)
    jitter = (2 * torch.rand(samples, generator=generator, dtype=torch.float64) - 1) * _JITTER
    grid = 1 + (torch.arange(samples, dtype=torch.float64) + 0.5 + jitter) / samples
    return Codes([grid[order]], 0, order)
