"""Rows of a run's logs: JSON lines."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fisherscope.runs.atomic_io import Log, last_line
from fisherscope.runs.errors import DamagedRunError

PREFIXES = ("train_", "val_", "test_", "fisher_", "time_")
SPECTRUM_BYTES = 8


def encoded(row: Mapping[str, Any]) -> bytes:
    """A row as one line."""
    return (json.dumps(row, separators=(",", ":"), allow_nan=False) + "\n").encode()


def renamed(row: Mapping[str, Any]) -> dict[str, Any]:
    """`train_loss` as `train/loss`: names that a Python argument can have, as the files have them."""
    return {
        key.replace("_", "/", 1) if key.startswith(PREFIXES) else key: value for key, value in row.items()
    }


def number_of_last(path: Path, key: str) -> int:
    """The last row's number; -1 where there is none."""
    row = last_line(path)
    return -1 if row is None else int(row.get(key, -1))


def kept(log: Log, wanted: Callable[[dict[str, Any]], bool]) -> tuple[int, int]:
    """Bytes of the leading rows that are wanted, and of the spectra they point at.

    Raises:
        DamagedRunError: A row cannot be read, or does not say its step.
    """
    size = spectra = 0
    for number, line in enumerate(log.lines(), start=1):
        try:
            row = json.loads(line)
            if not wanted(row):
                break
            if row.get("spectrum_offset") is not None:
                spectra = (row["spectrum_offset"] + row["spectrum_length"]) * SPECTRUM_BYTES
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedRunError(
                f"rewinding by {log.path}: line {number} is damaged or has no step ("
                f"{type(error).__name__}: {error}); restore the file from a copy, "
                "or delete the run's directory to begin it anew"
            ) from error
        size += len(line)
    return size, spectra
