"""Mutate valid inputs: values of JSON, bytes of any file, and files that are no ordinary files."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEEP = 3000
TEXTS = (
    "",
    "text",
    "3 s",
    "nan",
    "1e400",
    "[/data/x]",
    "[red]x[bold]",
    "\x1b]0;owned\x07\x1b[2J",
    "\u202egnp",
    "\x9b2J",
    "a\nb",
    "\x00",
    "/etc/passwd",
    "../../x",
    "evil.py:f",
    "os:abort",
    "beacon:/dev/zero",
    "s8+beacon:x",
    "é" * 50_000,
)
NUMBERS = (
    0,
    -1,
    1,
    2,
    0.5,
    -0.5,
    1e-308,
    1e308,
    -1e308,
    10**6,
    10**9,
    10**18,
    2**31,
    2**53 + 1,
    2**63,
    2**64,
    -(2**63),
    10**30,
    10**400,
    float("nan"),
    float("inf"),
    float("-inf"),
)
OTHERS: tuple[Any, ...] = (
    None,
    True,
    False,
    [],
    {},
    [1, 2],
    [[]],
    {"a": 1},
    {"": None},
    [None, "a", 1.5],
    ["x"] * 1000,
    "\ud800",
)
RAW = (
    "[" * DEEP + "]" * DEEP,
    '{"a":' * DEEP + "1" + "}" * DEEP,
    "1e999",
    "-1e999",
    "1" * 5000,
    "'",
    "{",
    '"\\ud800"',
)
"""JSON texts that no Python value is written as."""
MARK = "\u0001raw\u0001"


def nasty_value(draw: random.Random) -> Any:
    """Draw a value that a careless reader stumbles over."""
    kind = draw.random()
    if kind < 0.1:
        return MARK + str(draw.randrange(len(RAW)))
    return draw.choice(draw.choice((TEXTS, NUMBERS, OTHERS)))


def write_json(value: Any) -> str:
    """Write JSON, with the marked values as their raw texts."""
    text = json.dumps(value, ensure_ascii=True)
    for k, raw in enumerate(RAW):
        text = text.replace(json.dumps(MARK + str(k)), raw)
    return text


def mutate_value(value: Any, draw: random.Random) -> Any:
    """Change one value inside a JSON value: another in its place, a key gone, twice or new."""
    paths = list(_paths(value))
    if not paths or draw.random() < 0.03:
        return nasty_value(draw)
    *inside, last = draw.choice(paths)
    parent = value
    for key in inside:
        parent = parent[key]
    action = draw.random()
    if action < 0.15:
        del parent[last]
    elif action < 0.25 and isinstance(parent, dict):
        name = draw.choice(
            ("step", "run_id", "path", "epoch", "", "config.task", "[/x]", "\x1b[2J", "a" * 500)
        )
        parent[name] = nasty_value(draw)
    elif action < 0.3:
        parent[last] = {"was": parent[last]}
    else:
        parent[last] = nasty_value(draw)
    return value


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield (*path, key)
        yield from _paths(part, (*path, key))


def mutate_json_file(path: Path, draw: random.Random) -> None:
    """Change a value of a JSON document."""
    path.write_text(write_json(mutate_value(json.loads(path.read_text()), draw)))


def mutate_rows(path: Path, draw: random.Random) -> None:
    """Change a value of one row of JSON lines, or the same one of all rows."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    if draw.random() < 0.3 and rows:
        key, value = draw.choice(list(rows[0])), nasty_value(draw)
        rows = [row | {key: value} for row in rows]
    elif rows:
        k = draw.randrange(len(rows))
        rows[k] = mutate_value(rows[k], draw)
    path.write_text("".join(write_json(row) + "\n" for row in rows))


def mutate_bytes(path: Path, draw: random.Random) -> None:
    """Flip, cut, zero, double or insert bytes."""
    data = bytearray(path.read_bytes())
    size, action = len(data), draw.randrange(7)
    at = draw.randrange(size + 1)
    if action == 0:
        for _ in range(draw.choice((1, 4, 40))):
            if size:
                data[draw.randrange(size)] ^= 1 << draw.randrange(8)
    elif action == 1:
        del data[at:]
    elif action == 2:
        data[at:] = bytes(size - at)
    elif action == 3:
        data[at:at] = data[: draw.randrange(size + 1)]
    elif action == 4:
        data[at:at] = bytes(draw.randrange(256) for _ in range(draw.choice((1, 20))))
    elif action == 5:
        del data[at : at + draw.choice((1, 7, 100))]
    else:
        data = bytearray(
            draw.choice((b"", b"\n", b"{}", b"{}\n", b"[]", b"null\n", b"\xff\xfe\n", b"\x00" * 4096))
        )
    path.write_bytes(data)


def replace_by_odd_file(path: Path, draw: random.Random) -> None:
    """Put something in a file's place that is no ordinary file of ordinary size."""
    path.unlink(missing_ok=True)
    kind = draw.randrange(7)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.symlink_to(draw.choice(("/dev/zero", "/dev/full", "/dev/tty", "/dev/stdin")))
    elif kind == 2:
        path.mkdir()
    elif kind == 3:
        path.symlink_to(path.name)
    elif kind == 4:
        with path.open("wb") as file:
            file.truncate(draw.choice((1 << 20, 1 << 33, 1 << 40)))
    elif kind == 5:
        path.write_bytes(draw.choice((b'{"a":', b"[", b'"')) * draw.choice((1000, 1_000_000)))
    # else: it is gone


def rename_run(path: Path, draw: random.Random) -> Path:
    """Give a run directory a name that is no clean text, or put a link in its place."""
    names = (
        b"\xff\xfe",
        b"\x1b[2J",
        b"[x]",
        b"[red]",
        b"a\nb",
        b" ",
        b"x" * 200,
        "\u202egnp".encode(),
        b"-x",
        b"'\"",
    )
    target = Path(os.fsdecode(os.fsencode(path.parent) + b"/" + draw.choice(names)))
    if draw.random() < 0.15:
        elsewhere = path.parent.parent / "elsewhere"
        shutil.move(path, elsewhere)
        target.symlink_to(elsewhere)
    else:
        shutil.move(path, target)
    return target


RUN_MUTATIONS: dict[str, Callable[[Path, random.Random], Any]] = {
    "value of run.json": lambda run, draw: mutate_json_file(run / "run.json", draw),
    "value of epochs.jsonl": lambda run, draw: mutate_rows(run / "epochs.jsonl", draw),
    "value of steps.jsonl": lambda run, draw: mutate_rows(run / "steps.jsonl", draw),
    "bytes": lambda run, draw: mutate_bytes(_file(run, draw), draw),
    "odd file": lambda run, draw: replace_by_odd_file(_file(run, draw), draw),
    "name": rename_run,
    "several": lambda run, draw: [_value_anywhere(run, draw) for _ in range(5)],
}


def _file(run: Path, draw: random.Random) -> Path:
    files = ["run.json", "steps.jsonl", "epochs.jsonl", "spectra.bin", "outcomes.npz", "lock", "log.txt"]
    path = run / draw.choice(files)
    if not path.exists():
        path.write_bytes(b'{"pid": 1, "host": "x", "boot": "y", "since": "z"}')
    return path


def _value_anywhere(run: Path, draw: random.Random) -> None:
    name = draw.choice(("run.json", "epochs.jsonl", "steps.jsonl"))
    try:
        (mutate_json_file if name == "run.json" else mutate_rows)(run / name, draw)
    except (ValueError, AttributeError, TypeError, RecursionError):
        return  # an earlier mutation left no JSON
