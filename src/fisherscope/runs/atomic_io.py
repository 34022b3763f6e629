"""File writes that survive a kill at any moment: replaced whole, or appended."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from fisherscope.runs.errors import DamagedRunError, RunError

TEMPORARY = ".writing"
TAIL_BYTES = 1 << 16


def disk_error(doing: str, path: Path, error: OSError) -> RunError:
    """Return the error that says what the disk refused, and what to do about it."""
    remedy = {
        28: "free some space and resume from the last checkpoint",  # ENOSPC
        122: "raise the quota or free some space, and resume from the last checkpoint",  # EDQUOT
        30: "the file system is read-only: give another directory",  # EROFS
        13: "give a directory that you may write to",  # EACCES
        1: "give a directory that you may write to",  # EPERM
        2: "give a directory that can be created",  # ENOENT
        17: "a file of that name exists: give another directory",  # EEXIST
        20: "a part of that path is a file: give another directory",  # ENOTDIR
        21: "a directory has the name of a file: remove it, or give another directory",  # EISDIR
        36: "the name is too long: give another directory",  # ENAMETOOLONG
    }.get(error.errno or 0, "check that the disk works, and resume from the last checkpoint")
    return RunError(
        f"{doing} {path.name} in {path.parent}: {error.strerror or error}; what was there before is intact; "
        f"{remedy}"
    )


def replace(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file so that readers and survivors see the old one or the new one, whole.

    Raises:
        RunError: The disk is full or read-only; the old file is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        try:
            with temporary.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_directory(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise disk_error("writing", path, error) from error


def replace_json(path: Path, value: Any) -> None:
    """Replace a file by one JSON document."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    replace(path, lambda file: file.write(text.encode()))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that `replace_json` wrote.

    Returns:
        The object.

    Raises:
        DamagedRunError: The file holds something else.
        FileNotFoundError: There is no such file.
        RunError: The file cannot be read.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RunError(f"reading {path}: {error.strerror or error}; check its permissions") from error
    except ValueError as error:
        raise DamagedRunError(
            f"reading {path}: damaged, it is not JSON ({error}); restore it from a copy, or delete the run's "
            "directory to start over"
        ) from error
    if not isinstance(value, dict):
        raise DamagedRunError(
            f"reading {path}: damaged, expected a JSON object, received {type(value).__name__}"
        )
    return value


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power cut, where the system can."""
    if os.name != "posix":
        return
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def remove_partial_files(directory: Path) -> None:
    """Remove the half-written files of a killed writer."""
    for path in directory.glob(f".*{TEMPORARY}"):
        path.unlink(missing_ok=True)


class Log:
    """Append to a file, which is opened at the first write.

    Every append is one system call, so appended bytes survive a SIGKILL; after `sync` they survive a power
    cut too. An append that fails leaves the file as it was.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None
        self._partial_append = False  # part of an append that failed may be in the file
        self.size = path.stat().st_size if path.exists() else 0

    def append(self, data: bytes) -> None:
        """Add `data` at the end.

        Raises:
            RunError: The disk is full or read-only; nothing was added.
        """
        try:
            file = self._open()
            self._cut_partial_append(file)
            self._partial_append, count = True, 0
            while count < len(data):
                count += os.write(file, data[count:])
            self._partial_append = False
        except OSError as error:
            if self._file is not None:
                with suppress(OSError):  # the next append tries again
                    self._cut_partial_append(self._file)
            raise disk_error("appending to", self.path, error) from error
        self.size += count

    def truncate(self, size: int) -> None:
        """Drop everything from byte `size` on.

        Raises:
            DamagedRunError: The file is shorter than that.
        """
        if size > self.size:
            raise DamagedRunError(
                f"truncating {self.path} to {size} bytes: it has only {self.size}, so rows are lost; "
                "restore it from a copy, or delete the run's directory to start over"
            )
        if size == self.size:
            return
        try:
            os.ftruncate(self._open(), size)
        except OSError as error:
            raise disk_error("truncating", self.path, error) from error
        self.size = size

    def sync(self) -> None:
        """Make the file's content survive a power cut."""
        if self._file is not None:
            try:
                os.fsync(self._file)
            except OSError as error:
                raise disk_error("writing", self.path, error) from error

    def lines(self) -> list[bytes]:
        """Return the complete lines; a torn last one is left out."""
        return complete_lines(self.path.read_bytes()).splitlines(keepends=True) if self.size else []

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _cut_partial_append(self, file: int) -> None:
        if self._partial_append:
            os.ftruncate(file, self.size)
            self._partial_append = False

    def _open(self) -> int:
        if self._file is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
            self._file = os.open(self.path, flags, 0o666)
        return self._file


def complete_lines(data: bytes) -> bytes:
    """Return `data` without a last line that has no end."""
    return data if data.endswith(b"\n") else data[: data.rfind(b"\n") + 1]


def last_row(path: Path) -> dict[str, Any] | None:
    """Return the last complete row of a JSON-lines file, or None; reads only the file's end.

    Raises:
        DamagedRunError: The row is not JSON.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            window = TAIL_BYTES
            while True:
                file.seek(max(0, size - window))
                rows = complete_lines(file.read(window)).splitlines()
                if len(rows) > 1 or window >= size:
                    break
                window *= 2
    except FileNotFoundError:
        return None
    if not rows:
        return None
    try:
        row = json.loads(rows[-1])
    except ValueError as error:
        raise DamagedRunError(
            f"reading the last row of {path}: damaged ({error}); restore the file "
            "from a copy, or delete the run's directory to start over"
        ) from error
    return row if isinstance(row, dict) else None
