"""Types of a run's values: known numeric columns and keys, checked where runs are written and read."""

import math
from collections.abc import Mapping
from typing import Any

from fisherscope.plain_text import short_repr
from fisherscope.runs.paths import EPOCHS

LARGEST_EPOCH = 1_000_000
"""Largest number of epochs that a row may name or a configuration may declare."""
LARGEST_INTEGER = 1 << 53
"""Largest whole number that every reader represents exactly."""

_COUNTS = ("step", "spectrum_offset", "spectrum_length")
_METRICS = tuple(
    f"{part}/{name}" for part in ("train", "val", "test") for name in ("loss", "error", "accuracy")
)
_FISHER = (
    "cond", "cond_limit", "cond_m8", "rank", "effective_rank", "accuracy", "residual", "trace", "energy",
    "subset", "cond_mean", "cond_mean_epochs", "cond_geomean", "cond_median", "cond_mean_paper",
    "censored_share", "energy_sum", "energy_sum_paper",
)  # fmt: skip
NUMERIC_COLUMNS = frozenset((
    *_COUNTS, "epoch", "samples", "lr", "lr_sum", "batch_size", "steps_since", "step_scale_sum", *_METRICS,
    "train/loss_running", *(f"fisher/{name}" for name in _FISHER),
    *(f"noise/{name}" for name in ("scale", "scale_mean", "variance", "signal", "snr")),
    *(f"gradient/{name}" for name in ("norm", "diversity", "cosine", "largest_share", "zero_share")),
    *(f"test/{name}" for name in ("norm", "inner_product", "orthogonality", "big_batch")),
    "adascale/gain", "cabs/batch_size", *(f"time/{name}_s" for name in ("step", "fisher", "train", "eval")),
))  # fmt: skip
"""Columns of steps and epochs that hold numbers in every run (docs/measures.md, docs/runs.md)."""

NUMERIC_SETTINGS = frozenset((
    "batch_size", "lr", "seed", "epochs", "momentum", "weight_decay", "every", "per_epoch", "limit_train",
    "micro_batch", "threads",
))  # fmt: skip
"""Keys of a configuration that hold numbers; a run where one does not is read without it."""


def check_row(row: Mapping[str, Any], name: str) -> None:
    """Check the known columns of a row that is to be written.

    Args:
        row: JSON values by column.
        name: File of the log.

    Raises:
        TypeError: A known numeric column holds something else.
        ValueError: A count is negative, fractional or too large.
    """
    for key, value in row.items():
        if key in NUMERIC_COLUMNS and value is not None:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(
                    f"logging a row of {name}: {key!r} is {short_repr(value)}; expected a number or None, so "
                    "that runs can be compared; log text under another name"
                )
            if (problem := _count_problem(key, value, name)) is not None:
                raise ValueError(
                    f"logging a row of {name}: {key!r} is {short_repr(value)}; expected {problem}"
                )
    for key in ("epoch",) if name == EPOCHS else ("step",):
        if key in row and row[key] is None:
            raise TypeError(
                f"logging a row of {name}: {key!r} is None; expected a whole number, or leave it out"
            )


def row_problem(row: Any, name: str) -> str | None:
    """Say what is wrong with a row that was read.

    Args:
        row: The row.
        name: File of the log.

    Returns:
        The problem in words; None if its known columns hold what they should.
    """
    if not isinstance(row, dict):
        return f"it is {short_repr(row)}, expected a JSON object"
    for key, value in row.items():
        if key not in NUMERIC_COLUMNS or value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{key!r} is {short_repr(value)}, expected a number"
        if (problem := _count_problem(key, value, name)) is not None:
            return f"{key!r} is {short_repr(value)}, expected {problem}"
    if name == EPOCHS and row.get("epoch") is None:
        return "it has no 'epoch'"
    return None


def _count_problem(key: str, value: float, name: str) -> str | None:
    """Say what a count must be, if this number is none."""
    if key in _COUNTS:
        largest = LARGEST_INTEGER
    elif key == "epoch" and name == EPOCHS:
        largest = LARGEST_EPOCH
    else:
        return None
    if 0 <= value <= largest and value == math.floor(value):
        return None
    return f"a whole number from 0 to {largest}"


def setting_value(key: str, value: Any) -> Any:
    """Return the value of a configuration's numeric key as readers use it.

    Args:
        key: Name of the setting.
        value: Its value in run.json.

    Returns:
        The value; a number for a text that is one, and None for what a known numeric key cannot be.

    Example:
        >>> setting_value("lr", "0.1"), setting_value("lr", [0.1]), setting_value("note", "x")
        (0.1, None, 'x')
    """
    if key not in NUMERIC_SETTINGS:
        return _within_range(value)
    if isinstance(value, str) and len(value) < 40:
        try:
            value = int(value)
        except ValueError:
            try:
                value = float(value)
            except ValueError:
                return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    value = _within_range(value)
    if not math.isfinite(value):
        return None
    return None if key == "epochs" and not 0 < value <= LARGEST_EPOCH else value


def _within_range(value: Any) -> Any:
    """Return a whole number that 64 bits cannot hold as a float."""
    if isinstance(value, bool) or not isinstance(value, int) or -(1 << 63) <= value < 1 << 63:
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
