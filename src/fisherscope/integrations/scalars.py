"""The numbers of a row, which is what a tracker can draw."""

from collections.abc import Mapping
from typing import Any


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """Select the numbers of a row: without undefined values and texts, booleans as 0 or 1.

    Args:
        row: A row of a monitor.

    Returns:
        Numbers by key.
    """
    return {key: float(value) for key, value in row.items() if isinstance(value, int | float)}
