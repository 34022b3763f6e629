"""Rows of a run's logs: JSON lines."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fisherscope.bounded_reading import parse_json, read_log
from fisherscope.runs.atomic_io import Log, complete_lines, last_row
from fisherscope.runs.errors import DamagedRunError, RunError
from fisherscope.runs.nonfinite_marks import restore_row
from fisherscope.runs.row_types import row_problem

PREFIXES = ("train_", "val_", "test_", "fisher_", "time_")
SPECTRUM_BYTES = 8


def encode_row(row: Mapping[str, Any]) -> bytes:
    """Encode a row as one line."""
    return (json.dumps(row, separators=(",", ":"), allow_nan=False) + "\n").encode()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read the complete rows of a file that may be growing.

    Returns:
        The rows; none if there is no file.

    Raises:
        DamagedRunError: A line is not JSON.
        RunError: The file cannot be read.
    """
    try:
        data = complete_lines(read_log(path))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"reading {path}: {error.strerror or error}; check its permissions") from error
    try:
        rows = [parse_json(line) for line in data.splitlines()]
        return [restore_row(row) if isinstance(row, dict) else row for row in rows]
    except ValueError as error:
        raise DamagedRunError(f"reading {path}: damaged ({error}); restore it from a copy") from error


def slash_keys(row: Mapping[str, Any]) -> dict[str, Any]:
    """Rename `train_loss` to `train/loss`: from Python arguments to keys of the files."""
    return {
        key.replace("_", "/", 1) if key.startswith(PREFIXES) else key: value for key, value in row.items()
    }


def last_number(path: Path, key: str) -> int:
    """Return the last row's number under `key`; -1 if there is none.

    Raises:
        DamagedRunError: The row holds something else.
    """
    row = last_row(path)
    if row is not None and (problem := row_problem(row, path.name)) is not None:
        raise DamagedRunError(f"reading the last row of {path}: damaged, {problem}; restore it from a copy")
    return -1 if row is None else int(row.get(key, -1))


def leading_bytes(log: Log, belongs: Callable[[dict[str, Any]], bool]) -> tuple[int, int]:
    """Return the bytes of the leading rows that belong, and of the spectra of these.

    Raises:
        DamagedRunError: A row cannot be read, or has no step.
        RunError: The file cannot be read.
    """
    size = spectra = 0
    try:
        lines = log.lines()
    except OSError as error:
        raise RunError(f"reading {log.path}: {error.strerror or error}; restore it from a copy") from error
    for number, line in enumerate(lines, start=1):
        try:
            row = parse_json(line)
            if not belongs(row):
                break
            if row.get("spectrum_offset") is not None:
                spectra = (row["spectrum_offset"] + row["spectrum_length"]) * SPECTRUM_BYTES
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedRunError(
                f"rewinding by {log.path}: line {number} is damaged or has no step ("
                f"{type(error).__name__}: {error}); restore the file from a copy, "
                "or delete the run's directory to start over"
            ) from error
        size += len(line)
    return size, spectra
