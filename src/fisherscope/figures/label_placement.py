"""Place short labels beside marks, where they cover least (adjustText needs iterations)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

POINTS_AN_INCH = 72.0
DIRECTIONS = 16
ALONG = 12
"""Points on each piece of a line that a label keeps away from."""


def place_labels(
    axes: Axes, places: Sequence[tuple[float, float]], texts: Sequence[str], *,
    lines: Sequence[NDArray[np.float64]] = (), texts_before: Sequence[NDArray[np.float64]] = (),
    towards: tuple[float, float] = (0.0, 2 * math.pi), reach: float = 14.0, size: float = 9.0, **look: Any,
) -> list[NDArray[np.float64]]:  # fmt: skip
    """Write a label beside each mark, in the direction farthest from marks, lines and labels.

    Args:
        axes: The panel, its limits and scales set.
        places: (x, y) of each mark.
        texts: One label per mark.
        lines: Other marks and lines to keep free, shape (n, 2) each.
        texts_before: Returned by earlier calls for this panel.
        towards: First and last direction, counter-clockwise from the right, radians.
        reach: Points from a mark to the middle of its label.
        size: Font size, points.
        **look: Passed to `Axes.annotate`.

    Returns:
        Where the labels lie, points.
    """
    if not len(texts):
        return list(texts_before)
    marks, others = _points(axes, np.array(places)), [_points(axes, line) for line in lines]
    occupied, label_points = [_along(line) for line in others], list(texts_before)
    low, high = np.zeros(2), _extent(axes)
    turns = np.linspace(*towards, DIRECTIONS) + math.pi / 4 * (towards[1] - towards[0] > 6)
    for mark, place, text in zip(marks, places, texts, strict=True):
        wide = reach + 0.28 * size * (len(text) - 1)
        steps = np.stack([wide * np.cos(turns), reach * np.sin(turns)], axis=-1)
        candidates = mark + steps
        near = np.concatenate([marks[(marks != mark).any(axis=1)], *occupied, *label_points])
        free = np.min(np.linalg.norm(candidates[:, None] - near[None], axis=-1), axis=1, initial=np.inf)
        inside = ((candidates > low + size / 2) & (candidates < high - size / 2)).all(axis=1)
        best = int(np.argmax(np.where(inside, np.minimum(free, 2 * reach), -1.0)))
        axes.annotate(
            text, place, xytext=tuple(steps[best]), textcoords="offset points", ha="center", va="center",
            fontsize=size, **look,
        )  # fmt: skip
        label_points.append(
            candidates[best] + np.array([[dx, 0.0] for dx in (-wide + reach, 0.0, wide - reach)])
        )
    return label_points


def _extent(axes: Axes) -> NDArray[np.float64]:
    """Return width and height of a panel in points, before its figure is laid out."""
    figure = axes.figure
    return POINTS_AN_INCH * np.array(figure.get_size_inches()) * axes.get_position().size  # type: ignore[union-attr]


def _points(axes: Axes, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Transform data coordinates to points from the panel's corner."""
    return np.asarray(
        (axes.transData + axes.transAxes.inverted()).transform(np.asarray(values).reshape(-1, 2))
        * _extent(axes)
    )


def _along(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points on a line, its corners among them."""
    if len(line) < 2:
        return line
    share = np.linspace(0.0, 1.0, ALONG)[:, None, None]
    return ((1 - share) * line[:-1] + share * line[1:]).reshape(-1, 2)
