"""File writes that survive a kill at any moment: replaced whole, or appended."""

import hashlib
import itertools
import json
import os
import platform
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from fisherscope.bounded_reading import LARGEST_DOCUMENT, open_regular, parse_json, read_bytes, read_log
from fisherscope.plain_text import short_repr
from fisherscope.runs.errors import DamagedRunError, RunError

TEMPORARY = ".writing"
TAIL_BYTES = 1 << 16
SUMMED_BYTES = 1 << 22


def disk_error(doing: str, path: Path, error: OSError) -> RunError:
    """Return the error that says what the disk refused, and what to do about it."""
    remedy = {
        28: "free some space and run it again (a run resumes from its last checkpoint)",  # ENOSPC
        122: "raise the quota or free some space, and resume from the last checkpoint",  # EDQUOT
        30: "the file system is read-only: give another directory",  # EROFS
        13: "give a directory that you may write to",  # EACCES
        1: "give a directory that you may write to",  # EPERM
        2: "give a directory that can be created",  # ENOENT
        17: "a file of that name exists: give another directory",  # EEXIST
        20: "a part of that path is a file: give another directory",  # ENOTDIR
        21: "a directory has the name of a file: remove it, or give another directory",  # EISDIR
        36: "the name is too long: give another directory",  # ENAMETOOLONG
        27: "the file would be larger than this process may write: raise the limit",  # EFBIG
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
    try:
        if path.exists() and not path.is_file() and not path.is_dir():  # such as /dev/stdout
            with path.open("wb") as file:
                write(file)
            return
        target = (
            path.resolve() if path.is_symlink() else path
        )  # what a link leads to is replaced, not the link
        _remove_abandoned(target)
        temporary = target.with_name(f".{target.name}.{_NODE}-{os.getpid()}-{next(_numbers)}{TEMPORARY}")
        try:
            with temporary.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
            sync_directory(target.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise disk_error("writing", path, error) from error


_numbers = itertools.count()
"""Distinguishes the temporary files of one process, so that two threads can write the same file."""
_NODE = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
"""Distinguishes the temporary files of machines that share a disk."""


def _remove_abandoned(path: Path) -> None:
    """Remove what writers of this file on this machine left when they were killed."""
    prefix = f".{path.name}.{_NODE}-"
    for name in os.listdir(path.parent):
        if name.startswith(prefix) and name.endswith(TEMPORARY):
            writer = name[len(prefix) :].split("-")[0]
            if writer.isdigit() and int(writer) != os.getpid() and not _exists(int(writer)):
                (path.parent / name).unlink(missing_ok=True)


def _exists(process: int) -> bool:
    """Return whether a process of this id may exist on this machine."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def replace_text(path: str | os.PathLike[str], text: str) -> None:
    """Replace a file by text in UTF-8: readers see the old file or the new one, whole.

    Args:
        path: The file; its directory exists.
        text: Its content.

    Raises:
        RunError: The disk is full or read-only; the old file is still there.

    Cost: a flush to the disk.

    Example:
        ```python
        fs.runs.replace_text("answer.txt", "42")
        assert open("answer.txt").read() == "42"
        ```
    """
    replace(Path(path), lambda file: file.write(text.encode()))


def replace_json(path: Path, value: Any) -> None:
    """Replace a file by one JSON document."""
    replace_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


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
        value = parse_json(read_bytes(path, LARGEST_DOCUMENT))
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
            f"reading {path}: damaged, expected a JSON object, received {short_repr(value)}"
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
        self._sum, self._summed = 0, 0  # the checksum of so many bytes

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
        if self._summed == self.size:
            self._sum, self._summed = zlib.crc32(data, self._sum), self.size + count
        self.size += count

    def checksum(self, size: int | None = None) -> int:
        """Return the CRC-32 of the first `size` bytes, by default of all.

        Args:
            size: Bytes, at most the file's size.

        Raises:
            DamagedRunError: The file is shorter, or cannot be read.

        Cost: reads what was not summed before; appended bytes are summed as they come.
        """
        size = self.size if size is None else size
        if size < self._summed:
            self._sum, self._summed = 0, 0
        if size > self._summed:
            try:
                with open(open_regular(self.path), "rb") as file:
                    file.seek(self._summed)
                    while self._summed < size and (data := file.read(min(SUMMED_BYTES, size - self._summed))):
                        self._sum, self._summed = zlib.crc32(data, self._sum), self._summed + len(data)
            except OSError as error:
                raise DamagedRunError(
                    f"reading {self.path}: {error.strerror or error}; restore it from a copy"
                ) from error
        if self._summed < size:
            raise DamagedRunError(
                f"reading {self.path}: it has {self._summed} of the {size} bytes that belong to "
                "the checkpoint; restore it from a copy, or delete the run's directory to start over"
            )
        return self._sum

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
        if self._summed > size:
            self._sum, self._summed = 0, 0

    def sync(self) -> None:
        """Make the file's content survive a power cut."""
        if self._file is not None:
            try:
                os.fsync(self._file)
            except OSError as error:
                raise disk_error("writing", self.path, error) from error

    def lines(self) -> list[bytes]:
        """Return the complete lines; a torn last one is left out."""
        return complete_lines(read_log(self.path)).splitlines(keepends=True) if self.size else []

    def tail(self, size: int) -> bytes:
        """Return the last row, or more, of the first `size` bytes; less if the file is shorter."""
        window = TAIL_BYTES
        with open(open_regular(self.path), "rb") as file:
            while True:
                file.seek(max(0, size - window))
                data = file.read(min(window, size))
                if data.count(b"\n") > 1 or window >= size:
                    return data
                window *= 2

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
        with open(open_regular(path), "rb") as file:
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
        row = parse_json(rows[-1])
    except ValueError as error:
        raise DamagedRunError(
            f"reading the last row of {path}: damaged ({error}); restore the file "
            "from a copy, or delete the run's directory to start over"
        ) from error
    return row if isinstance(row, dict) else None
