"""Mutate an exported file: its JSON, its tables, its zip."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
from experiments.fuzz.mutations import (
    mutate_bytes,
    mutate_value,
    nasty_value,
    replace_by_odd_file,
    write_json,
)

Members = dict[str, bytes]
TABLES = ("epochs.parquet", "steps.parquet", "measures.parquet")


def mutate_export(path: Path, draw: random.Random) -> str:
    """Change an export at random.

    Args:
        path: The file.
        draw: Random numbers.

    Returns:
        The kind of the mutation.
    """
    kind = draw.choice(("zip bytes", "odd file", *_INSIDE))
    if kind == "zip bytes":
        mutate_bytes(path, draw)
    elif kind == "odd file":
        replace_by_odd_file(path, draw)
    else:
        with zipfile.ZipFile(path) as file:
            members = {name: file.read(name) for name in file.namelist()}
        _INSIDE[kind](members, draw)
        method = draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
        with zipfile.ZipFile(path, "w", method) as file:
            for name, data in members.items():
                file.writestr(name, data)
    return kind


def _head_value(members: Members, draw: random.Random) -> None:
    members["runs.json"] = write_json(mutate_value(json.loads(members["runs.json"]), draw)).encode()


def _run_value(members: Members, draw: random.Random) -> None:
    contents = json.loads(members["runs.json"])
    name = draw.choice(list(contents["runs"]))
    contents["runs"][name] = mutate_value(contents["runs"][name], draw)
    members["runs.json"] = write_json(contents).encode()


def _run_name(members: Members, draw: random.Random) -> None:
    contents = json.loads(members["runs.json"])
    name = draw.choice(list(contents["runs"]))
    others = ("/etc", "../x", "a/../../x", "", ".", "a//b", "\x1b[2J", "[/x]", "\x00", "C:\\x", "x" * 5000)
    contents["runs"][draw.choice(others)] = contents["runs"].pop(name)
    members["runs.json"] = write_json(contents).encode()


def _table_bytes(members: Members, draw: random.Random) -> None:
    name = draw.choice(TABLES)
    data = bytearray(members[name])
    for _ in range(draw.choice((1, 5, 50))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    members[name] = bytes(data[: draw.choice((len(data), draw.randrange(len(data))))])


def _table_column(members: Members, draw: random.Random) -> None:
    name = draw.choice(TABLES)
    frame = pl.read_parquet(io.BytesIO(members[name]))
    column = draw.choice(frame.columns)
    action = draw.randrange(5)
    if action == 0:
        frame = frame.drop(column)
    elif action == 1:
        frame = frame.rename({column: draw.choice(("x", "", "run_id ", "\x1b[2J", "epoch2"))})
    elif action == 2:
        kind = draw.choice(
            (pl.String, pl.Boolean, pl.Int8, pl.UInt64, pl.Float32, pl.Date, pl.Binary, pl.Null)
        )
        frame = frame.with_columns(pl.Series(column, [None] * len(frame), kind))
    elif action == 3:
        value = nasty_value(draw)
        try:
            frame = frame.with_columns(pl.Series(column, [value] * len(frame), strict=False))
        except (TypeError, OverflowError, ValueError, pl.exceptions.PolarsError):
            frame = frame.head(1)
    else:
        frame = frame.with_columns(pl.col(column).shuffle(draw.randrange(100)))
    buffer = io.BytesIO()
    try:
        frame.write_parquet(buffer)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return
    members[name] = buffer.getvalue()


def _lost_member(members: Members, draw: random.Random) -> None:
    del members[draw.choice(list(members))]


_INSIDE: dict[str, Callable[[Members, random.Random], None]] = {
    "value of runs.json": _head_value,
    "value of a run": _run_value,
    "name of a run": _run_name,
    "bytes of a table": _table_bytes,
    "column of a table": _table_column,
    "member lost": _lost_member,
}
