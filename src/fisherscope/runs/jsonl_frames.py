"""JSON lines as polars frames: fast where rows are alike, complete where they are not."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fisherscope.bounded_reading import parse_json, read_log
from fisherscope.plain_text import short_repr
from fisherscope.runs.atomic_io import complete_lines
from fisherscope.runs.errors import DamagedRunError
from fisherscope.runs.nonfinite_marks import restore_frame
from fisherscope.runs.paths import EPOCHS
from fisherscope.runs.row_types import LARGEST_EPOCH, LARGEST_INTEGER, NUMERIC_COLUMNS, row_problem

SAMPLED_LINES = 50
"""Lines at each end of a file from which its columns are inferred."""


def frame_of_lines(path: Path) -> pl.DataFrame | None:
    """Read the rows of a file that may be growing.

    Returns:
        A frame; None if the file has no rows yet.

    Raises:
        DamagedRunError: Names the first line that is not a JSON object, or whose known numeric columns hold
            something else, or says why the file cannot be read.
    """
    try:
        data = complete_lines(read_log(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedRunError(f"reading {path}: {error.strerror or error}; check its permissions") from error
    if not data:
        return None
    try:
        rows = _read_uniform_rows(data)
        frame = pl.read_ndjson(io.BytesIO(data), infer_schema_length=None) if rows is None else rows
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _damage(path, data, error) from error
    if (problem := frame_problem(frame, path.name)) is not None:
        raise _damage(path, data, ValueError(problem))
    frame = _with_counts_as_integers(frame, path.name)
    return restore_frame(frame) if path.name == EPOCHS else frame


def frame_problem(frame: pl.DataFrame, name: str) -> str | None:
    """Say which known column of a frame of rows holds what it should not.

    Args:
        frame: The rows, of one run or of several.
        name: File of the log that they are of.

    Returns:
        The problem in words; None if every known column is as it should be.
    """
    for column, kind in frame.schema.items():
        if column in NUMERIC_COLUMNS and not (kind.is_numeric() or kind == pl.Null):
            return f"{column!r} is {kind}, expected numbers"
    counts = {"step": LARGEST_INTEGER, "spectrum_offset": LARGEST_INTEGER, "spectrum_length": LARGEST_INTEGER}
    counts |= {"epoch": LARGEST_EPOCH} if name == EPOCHS else {}
    for column, largest in counts.items():
        values = frame[column].drop_nulls() if column in frame.columns else pl.Series([0])
        if len(values) and not bool(
            values.is_between(0, largest).all()
            and (values.dtype.is_integer() or bool((values == values.floor()).all()))
        ):
            return f"{column!r} is not everywhere a whole number from 0 to {largest}"
    if name == EPOCHS and ("epoch" not in frame.columns or frame["epoch"].null_count()):
        return "a row has no 'epoch'"
    return None


def _with_counts_as_integers(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Convert counts that were written as 1.0, and known columns of nulls, to their types."""
    counts = ("step", "spectrum_offset", "spectrum_length", *(("epoch",) if name == EPOCHS else ()))
    kinds: dict[Any, Any] = {column: pl.Int64 for column in counts if column in frame.columns}
    kinds |= {
        column: pl.Float64
        for column, kind in frame.schema.items()
        if kind == pl.Null and column in NUMERIC_COLUMNS and column not in counts
    }
    return frame.cast(kinds) if kinds else frame


def read_frame(path: Path) -> pl.DataFrame | DamagedRunError | None:
    """Read rows as `frame_of_lines` does, but return its error instead of raising it."""
    try:
        return frame_of_lines(path)
    except DamagedRunError as error:
        return error


def concat_frames(frames: list[pl.DataFrame], empty: dict[str, Any]) -> pl.DataFrame:
    """Concatenate frames of runs; without any, return one with `run_id` and the columns of `empty`.

    A column that holds numbers in some runs and something else in others keeps the numbers; one that holds
    several other types becomes text.

    Returns:
        A frame with `run_id` and the columns of any run.
    """
    if not frames:
        return pl.DataFrame(schema={"run_id": pl.String, **empty})
    kinds: dict[str, set[Any]] = {}
    for frame in frames:
        for name, kind in frame.schema.items():
            if kind != pl.Null:
                kinds.setdefault(name, set()).add(kind)
    mixed = {
        name for name, types in kinds.items() if len(types) > 1 and not all(t.is_numeric() for t in types)
    }
    numbers = {name for name in mixed if any(kind.is_numeric() for kind in kinds[name])}
    frames = [frame.with_columns(_alike(frame, mixed & set(frame.columns), numbers)) for frame in frames]
    return pl.concat(frames, how="diagonal_relaxed")


def _alike(frame: pl.DataFrame, mixed: set[str], numbers: set[str]) -> list[pl.Series]:
    """Return the columns of a frame that have another type in other frames, as one type."""
    columns = []
    for name in sorted(mixed):
        values = frame[name]
        if values.dtype.is_numeric():
            continue
        if name in numbers:
            columns.append(pl.Series(name, [None] * len(values), pl.Float64))
        elif values.dtype != pl.String:
            texts = [None if value is None else json.dumps(value) for value in values.to_list()]
            columns.append(pl.Series(name, texts, pl.String))
    return columns


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


def _damage(path: Path, data: bytes, error: BaseException) -> DamagedRunError:
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            problem = row_problem(parse_json(line), path.name)
        except ValueError:
            problem = repr(line[:40])
        if problem is not None:
            return DamagedRunError(
                f"reading {path}: line {number} is damaged ({problem}); restore the file from a copy"
            )
    return DamagedRunError(
        f"reading {path}: its rows do not fit together ({short_repr(str(error))}); restore it from a copy"
    )
