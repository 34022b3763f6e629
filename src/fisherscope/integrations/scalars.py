"""What of a row a tracker can draw."""

from collections.abc import Mapping
from typing import Any


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row by their keys; undefined values and texts are left out, truths are 0 or 1."""
    return {key: float(value) for key, value in row.items() if isinstance(value, int | float)}
