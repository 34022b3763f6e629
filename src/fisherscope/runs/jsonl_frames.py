"""JSON lines as polars frames: fast where rows are alike, complete where they are not."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fisherscope.runs.atomic_io import complete_lines
from fisherscope.runs.errors import DamagedRunError

SAMPLED_LINES = 50
"""Lines at each end of a file from which its columns are inferred."""


def frame_of_lines(path: Path) -> pl.DataFrame | None:
    """Read the rows of a file that may be growing.

    Returns:
        A frame; None if the file has no rows yet.

    Raises:
        DamagedRunError: Names the first line that is not a JSON object, or says why the file cannot be read.
    """
    try:
        data = complete_lines(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedRunError(f"reading {path}: {error.strerror or error}; check its permissions") from error
    if not data:
        return None
    try:
        rows = _read_uniform_rows(data)
        return pl.read_ndjson(io.BytesIO(data), infer_schema_length=None) if rows is None else rows
    except pl.exceptions.PolarsError as error:
        raise _damage(path, data, error) from error


def read_frame(path: Path) -> pl.DataFrame | DamagedRunError | None:
    """Read rows as `frame_of_lines` does, but return its error instead of raising it."""
    try:
        return frame_of_lines(path)
    except DamagedRunError as error:
        return error


def concat_frames(frames: list[pl.DataFrame], empty: dict[str, Any]) -> pl.DataFrame:
    """Concatenate frames of runs; without any, one with `run_id` and the columns of `empty`."""
    if not frames:
        return pl.DataFrame(schema={"run_id": pl.String, **empty})
    return pl.concat(frames, how="diagonal_relaxed")


def _read_uniform_rows(data: bytes) -> pl.DataFrame | None:
    """Read with the columns of a sample of rows.

    Inferring the columns from every row costs four times as much. The number of keys, and the keys that a
    null may stand for, show whether any row has another key.

    Returns:
        A frame; None if other rows have other keys or types.
    """
    lines = _count(data, b"\n")
    sample = pl.read_ndjson(io.BytesIO(_ends(data)), infer_schema_length=None)
    keys = lines * len(sample.columns)
    if (
        _count(data, b":") != keys and data.count(b'":') != keys
    ):  # the second is slower, and text may have ":"
        return None
    schema = {name: pl.Float64 if kind == pl.Null else kind for name, kind in sample.schema.items()}
    try:
        rows = pl.read_ndjson(io.BytesIO(data), schema=schema)
    except pl.exceptions.PolarsError:
        return None
    with_nulls = [name for name in rows.columns if rows[name].null_count()]
    complete = all(data.count(json.dumps(name).encode() + b":") == lines for name in with_nulls)
    return rows if complete else None


def _count(data: bytes, byte: bytes) -> int:
    """Count a byte; faster than `data.count(byte)` if there are many."""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord(byte)))


def _ends(data: bytes) -> bytes:
    """Return the first and the last `SAMPLED_LINES` lines."""
    begin = end = 0
    for _ in range(SAMPLED_LINES):
        begin = data.find(b"\n", begin) + 1
        if begin == len(data):
            return data
    end = len(data) - 1
    for _ in range(SAMPLED_LINES):
        end = data.rfind(b"\n", begin, end)
        if end < 0:
            return data
    return data[:begin] + data[end + 1 :]


def _damage(path: Path, data: bytes, error: Exception) -> DamagedRunError:
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            valid = isinstance(json.loads(line), dict)
        except ValueError:
            valid = False
        if not valid:
            return DamagedRunError(
                f"reading {path}: line {number} is damaged ({line[:40]!r}); restore the file from a copy"
            )
    return DamagedRunError(f"reading {path}: its rows do not fit together ({error}); restore it from a copy")
