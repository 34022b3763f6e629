"""Writing that survives a kill at any moment: files replaced whole, and files that only grow."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from fisherscope.runs.errors import DamagedRunError, RunError

TEMPORARY = ".writing"
TAIL_BYTES = 1 << 16


def failure(doing: str, path: Path, error: OSError) -> RunError:
    """What to tell when the disk refuses."""
    remedy = {
        28: "make room and go on from the last checkpoint",  # ENOSPC
        122: "raise the quota or make room, and go on from the last checkpoint",  # EDQUOT
        30: "the file system is read-only: give another directory",  # EROFS
        13: "give a directory that may be written to",  # EACCES
        1: "give a directory that may be written to",  # EPERM
        2: "give a directory that can be made",  # ENOENT
        17: "a file is in its place: give another directory",  # EEXIST
        20: "a part of that path is a file: give another directory",  # ENOTDIR
        21: "a directory is in a file's place: remove it, or give another directory",  # EISDIR
        36: "the name is too long: give another directory",  # ENAMETOOLONG
    }.get(error.errno or 0, "see that the disk works, and go on from the last checkpoint")
    return RunError(
        f"{doing} {path.name} in {path.parent}: {error.strerror or error}; what was there before is intact; "
        f"{remedy}"
    )


def replace(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file so that readers and survivors see the old one or the new one, whole.

    Raises:
        RunError: The disk is full or may not be written to; the old file is still there.
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
        raise failure("writing", path, error) from error


def replace_json(path: Path, value: Any) -> None:
    """`replace`, with one JSON document."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    replace(path, lambda file: file.write(text.encode()))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object that `replace_json` wrote.

    Raises:
        DamagedRunError: It is something else.
        FileNotFoundError: It is not there.
        RunError: It may not be read.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RunError(f"reading {path}: {error.strerror or error}; see that it may be read") from error
    except ValueError as error:
        raise DamagedRunError(
            f"reading {path}: damaged, it is not JSON ({error}); restore it from a copy, or delete the run's "
            "directory to begin it anew"
        ) from error
    if not isinstance(value, dict):
        raise DamagedRunError(
            f"reading {path}: damaged, expected a JSON object, found {type(value).__name__}"
        )
    return value


def sync_directory(path: Path) -> None:
    """Make the names in a directory last through a power cut, where the system can."""
    if os.name != "posix":
        return
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def sweep_up(directory: Path) -> None:
    """Remove what a killed writer left half written."""
    for left in directory.glob(f".*{TEMPORARY}"):
        left.unlink(missing_ok=True)


class Log:
    """A file that grows at its end; opened at the first write.

    Every append is one system call, so what was appended is there after a SIGKILL; `sync` makes it last
    through a power cut. An append that fails leaves the file as it was.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None
        self._torn = False  # part of an append that failed may be there
        self.size = path.stat().st_size if path.exists() else 0

    def append(self, data: bytes) -> None:
        """Add `data` at the end.

        Raises:
            RunError: The disk is full or may not be written to; nothing was added.
        """
        try:
            file = self._open()
            self._mend(file)
            self._torn, written = True, 0
            while written < len(data):
                written += os.write(file, data[written:])
            self._torn = False
        except OSError as error:
            if self._file is not None:
                with suppress(OSError):  # it is tried again before the next append
                    self._mend(self._file)
            raise failure("appending to", self.path, error) from error
        self.size += written

    def truncate(self, size: int) -> None:
        """Drop everything from byte `size` on.

        Raises:
            DamagedRunError: The file is shorter than that.
        """
        if size > self.size:
            raise DamagedRunError(
                f"going back to byte {size} of {self.path}: it has {self.size}, so rows are lost; "
                "restore it from a copy, or delete the run's directory to begin it anew"
            )
        if size == self.size:
            return
        try:
            os.ftruncate(self._open(), size)
        except OSError as error:
            raise failure("shortening", self.path, error) from error
        self.size = size

    def sync(self) -> None:
        """Make it last through a power cut."""
        if self._file is not None:
            try:
                os.fsync(self._file)
            except OSError as error:
                raise failure("writing", self.path, error) from error

    def lines(self) -> list[bytes]:
        """Its whole lines; a torn last one is left out."""
        return whole_lines(self.path.read_bytes()).splitlines(keepends=True) if self.size else []

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _mend(self, file: int) -> None:
        if self._torn:
            os.ftruncate(file, self.size)
            self._torn = False

    def _open(self) -> int:
        if self._file is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
            self._file = os.open(self.path, flags, 0o666)
        return self._file


def whole_lines(data: bytes) -> bytes:
    """`data` without a last line that has no end."""
    return data if data.endswith(b"\n") else data[: data.rfind(b"\n") + 1]


def last_line(path: Path) -> dict[str, Any] | None:
    """The last whole row of a JSON-lines file; None where there is none. Reads the file's end only."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            reach = TAIL_BYTES
            while True:
                file.seek(max(0, size - reach))
                rows = whole_lines(file.read(reach)).splitlines()
                if len(rows) > 1 or reach >= size:
                    break
                reach *= 2
    except FileNotFoundError:
        return None
    if not rows:
        return None
    try:
        row = json.loads(rows[-1])
    except ValueError as error:
        raise DamagedRunError(
            f"reading the last row of {path}: damaged ({error}); restore the file "
            "from a copy, or delete the run's directory to begin it anew"
        ) from error
    return row if isinstance(row, dict) else None
