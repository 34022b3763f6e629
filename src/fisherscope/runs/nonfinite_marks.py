"""Keep infinite and undefined metrics apart from those that were not recorded; JSON has a null for both.

Beside the null, a row says what the metric was: `"nonfinite": "val/error=inf train/loss=nan"`. Readers put
the numbers back; to readers of version 0.1 the key is one more text.
"""

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

KEY = "nonfinite"
METRICS = ("train/", "val/", "test/")


def mark_nonfinite(row: Mapping[str, Any]) -> dict[str, Any]:
    """Add what the metrics of a row are that JSON cannot hold.

    Args:
        row: An epoch's row, before it is converted to JSON values.

    Returns:
        The row; with `nonfinite`, if a metric is infinite or undefined.
    """
    numbers = {key: _number(value) for key, value in row.items() if key.startswith(METRICS)}
    marks = [
        f"{key}={value}" for key, value in numbers.items() if value is not None and not math.isfinite(value)
    ]
    return {**row, KEY: " ".join(marks)} if marks else dict(row)


def _number(value: Any) -> float | None:
    if isinstance(value, int | float):
        return float(value) if isinstance(value, float) else 0.0
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        item = value.item()
        return float(item) if isinstance(item, float) else None
    return None


def _marks(text: Any) -> dict[str, float]:
    """Return the numbers that a mark names; none for what is no mark."""
    numbers = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
    pairs = [part.rpartition("=") for part in text.split()] if isinstance(text, str) else []
    return {key: numbers[value] for key, _, value in pairs if key.startswith(METRICS) and value in numbers}


def restore_row(row: dict[str, Any]) -> dict[str, Any]:
    """Put the numbers that a row's mark names back.

    Args:
        row: As it was read.

    Returns:
        The row without its mark.
    """
    if KEY not in row:
        return row
    marks = _marks(row[KEY])
    return {
        key: marks.get(key, value) if value is None else value for key, value in row.items() if key != KEY
    }


def restore_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """Put the numbers that the rows' marks name back.

    Args:
        frame: Epoch rows of one run.

    Returns:
        The frame without the column of marks.
    """
    if KEY not in frame.columns:
        return frame
    marks = [_marks(text) for text in frame[KEY].to_list()]
    names = sorted({name for one in marks for name in one} & set(frame.columns))
    columns = [
        pl.Series(
            name, [one.get(name, v) if v is None else v for one, v in zip(marks, frame[name], strict=True)]
        ).cast(pl.Float64)
        for name in names
        if frame.schema[name].is_numeric() or frame.schema[name] == pl.Null
    ]
    return frame.drop(KEY).with_columns(columns)
