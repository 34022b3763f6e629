"""Read files that others may have written: ordinary files only, of bounded size, JSON of bounded depth.

What is refused is refused as the system refuses a file, by an `OSError` whose text says why.
"""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

from fisherscope.plain_text import printable

LARGEST_DOCUMENT = 1 << 26
"""Bytes of a file that is one JSON document, such as run.json (64 MiB; a run's own takes a few kB)."""
LARGEST_LOG = 1 << 33
"""Bytes of a log (8 GiB)."""
LONGEST_LINE = 1 << 24
"""Bytes of a row of a log (16 MiB; a monitor's takes 1 kB)."""
DEEPEST = 32
"""Levels of lists and mappings in a JSON document."""

_KINDS = ((stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))


def open_regular(path: Path) -> int:
    """Open an ordinary file for reading, without waiting for another process.

    Returns:
        The file descriptor.

    Raises:
        OSError: It cannot be opened, or it is a pipe, a device, a directory or another thing without fixed
            content.
    """
    file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    mode = os.fstat(file).st_mode
    if stat.S_ISREG(mode):
        return file
    os.close(file)
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "a device")
    raise OSError(errno.EINVAL, f"it is {kind}, expected an ordinary file", str(path))


def read_bytes(path: Path, largest: int = LARGEST_LOG) -> bytes:
    """Read an ordinary file whole, as long as it was when it was opened.

    Returns:
        Its bytes.

    Raises:
        OSError: It cannot be read, is no ordinary file, or is larger than `largest` bytes.
    """
    with open(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > largest:
            raise OSError(errno.EFBIG, f"it has {size} bytes, expected at most {largest}", str(path))
        return file.read(size)


def read_log(path: Path) -> bytes:
    """Read a log of lines.

    Returns:
        Its bytes.

    Raises:
        OSError: It cannot be read, is no ordinary file, is too large, or its first line does not end.
    """
    with open(open_regular(path), "rb") as file:
        head = file.read(LONGEST_LINE)
    if len(head) == LONGEST_LINE and b"\n" not in head:
        raise OSError(errno.EFBIG, f"its first {LONGEST_LINE} bytes hold no complete row", str(path))
    return head if len(head) < LONGEST_LINE else read_bytes(path)


def parse_json(data: bytes | str) -> Any:
    """Parse JSON that another may have written.

    Returns:
        The value; halves of characters in its texts are written as text.

    Raises:
        ValueError: It is not JSON, or nested deeper than `DEEPEST` levels.
    """
    try:
        value = json.loads(data)
    except RecursionError:
        raise ValueError(f"nested deeper than {DEEPEST} levels") from None
    if not isinstance(value, dict | list):
        return value
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        level = [part for one in level for part in _parts(one) if isinstance(part, dict | list)]
        if not level:
            break
    else:
        raise ValueError(f"nested deeper than {DEEPEST} levels")
    escape = "\\u" if isinstance(data, str) else b"\\u"
    return _whole_characters(value) if escape in data else value  # type: ignore[operator]


def _parts(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value


def _whole_characters(value: Any) -> Any:
    """Write halves of characters, which no file can hold, as text."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return printable(value)
        return value
    if isinstance(value, dict):
        return {_whole_characters(key): _whole_characters(part) for key, part in value.items()}
    return [_whole_characters(part) for part in value] if isinstance(value, list) else value
