"""Local slopes of two measures over (log B, log α), and the move that they suggest."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import lsq_linear

from fisherscope.analysis.data.settings import FloatArray
from fisherscope.analysis.stats.resampling import generator

WIDTH = 0.5
"""Width of the neighbourhood that slopes are fitted in, as a share of the settings' range."""
FEWEST = 4
"""Settings below which no slope is fitted."""
DRAWS = 300
"""Bootstrap draws of the settings, for intervals."""


class Map(NamedTuple):
    """Positions of settings in the plane, over their coordinates.

    Args:
        coordinates: (log2 B, log2 α), shape (n, 2).
        positions: log2 of the two measures, shape (n, 2).
    """

    coordinates: FloatArray
    positions: FloatArray

    def without(self, row: int) -> "Map":
        """Leave one setting out."""
        return Map(np.delete(self.coordinates, row, 0), np.delete(self.positions, row, 0))

    @property
    def reach(self) -> FloatArray:
        """Range of the coordinates, shape (2,); 1 where they do not vary."""
        reach = np.ptp(self.coordinates, axis=0)
        return np.where(reach > 0, reach, 1.0)

    @property
    def spread(self) -> FloatArray:
        """Range of the positions, shape (2,); 1 where they do not vary."""
        reach = np.ptp(self.positions, axis=0)
        return np.where(reach > 0, reach, 1.0)


def local_slopes(settings: Map, centre: FloatArray) -> FloatArray:
    """Fit how the measures change per doubling of batch size and learning rate, near a setting.

    A plane, by least squares with Gaussian weights around the centre.

    Args:
        settings: Positions over coordinates.
        centre: (log2 B, log2 α).

    Returns:
        Shape (2, 2): rows are the measures, columns batch size and learning rate; a coordinate that does not
        vary has slope 0.
    """
    offsets = settings.coordinates - centre
    weight = np.exp(-0.25 * np.sum((offsets / (WIDTH * settings.reach)) ** 2, axis=1))  # of the square
    design = np.column_stack([np.ones(len(offsets)), offsets]) * weight[:, None]
    solved, *_ = np.linalg.lstsq(design, settings.positions * weight[:, None], rcond=None)
    slopes: FloatArray = solved[1:].T
    return slopes


def suggested_move(settings: Map, start: FloatArray, gap: FloatArray) -> FloatArray:
    """Return the coordinates that bring a run nearest to a position, within those of the settings.

    Args:
        settings: Positions over coordinates.
        start: The run's (log2 B, log2 α).
        gap: Position wanted minus that of the run, log2, shape (2,).

    Returns:
        (log2 B, log2 α).
    """
    slopes = local_slopes(settings, start) / settings.spread[:, None]
    low, high = settings.coordinates.min(axis=0) - start, settings.coordinates.max(axis=0) - start
    free = high > low
    target: FloatArray = start.copy()
    if free.any():
        solution = lsq_linear(
            slopes[:, free], gap / settings.spread, (np.minimum(low, 0)[free], np.maximum(high, 0)[free])
        )
        target[free] += solution.x
    return target


def resample_settings(settings: Map) -> list[Map]:
    """Draw the settings with replacement, `DRAWS` times; draws that fix no slope are left out."""
    numbers, count = generator(), len(settings.coordinates)
    draws = [numbers.integers(count, size=count) for _ in range(DRAWS)]
    varied = np.ptp(settings.coordinates, axis=0) > 0
    return [
        Map(settings.coordinates[rows], settings.positions[rows])
        for rows in draws
        if (np.ptp(settings.coordinates[rows], axis=0)[varied] > 0).all()
    ]


def interval_of(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the 80 % interval of draws along the first axis."""
    low, high = np.percentile(values, [10, 90], axis=0)
    return low, high
