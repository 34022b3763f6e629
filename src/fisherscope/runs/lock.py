"""One writer per run: a lock that the death of its holder releases.

It is the operating system's record lock, which ends with its process however that ends, and which children
do not inherit. On a file system without such locks the holder's record in the lock file counts instead; that
record is stale when its process is gone or its machine was rebooted.

Why not the `filelock` library: this lock stores who holds it (process, machine, since when), so that an error
can say whom to wait for; it recognises stale records on file systems without locks; and readers can ask who
holds it without taking it.
"""

import errno
import json
import os
import socket
import stat
import time
from pathlib import Path
from typing import Any

from fisherscope.bounded_reading import open_regular, parse_json
from fisherscope.plain_text import short_repr
from fisherscope.runs.atomic_io import disk_error
from fisherscope.runs.errors import RunError, RunLockedError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

BUSY_ERRORS = {errno.EACCES, errno.EAGAIN}
ATTEMPTS, PAUSE_SECONDS = 10, 0.02  # a reader that asks for the holder takes the lock for microseconds

_own_locks: dict[str, int] = {}
"""Lock files held by this process (or, after a fork, by its parent): path → process id.

A record lock does not exclude its own process, and closing any descriptor of the file releases it.
"""


class Lock:
    """Hold the right to write one run directory.

    Raises:
        RunLockedError: Another process holds it.
        RunError: The lock file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._key = path, str(path.resolve())
        if self._key in _own_locks:
            raise locked_error(path, {"pid": _own_locks[self._key], "host": socket.gethostname()})
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise disk_error("locking", path, error) from error
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            os.close(self._file)
            raise RunError(f"locking {path}: it is no ordinary file; remove it")
        try:
            self._acquire()
        except BaseException:
            os.close(self._file)
            raise
        _own_locks[self._key] = os.getpid()

    def release(self) -> None:
        """Release the lock, so that other processes can write."""
        if _own_locks.get(self._key) != os.getpid():
            return
        os.ftruncate(self._file, 0)
        os.close(self._file)
        del _own_locks[self._key]

    def _acquire(self) -> None:
        acquired, record = _acquire_system_lock(self._file), _read_record(self._file)
        if acquired is None or (not acquired and record is not None and _is_alive(record)):
            raise locked_error(self.path, record or {})
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, json.dumps(_own_record()).encode())


def holder(path: Path) -> dict[str, Any] | None:
    """Return who holds a lock (pid, host, since); None if no process does."""
    key = str(path.resolve())
    if key in _own_locks:
        return {"pid": _own_locks[key], "host": socket.gethostname()}
    try:
        file = open_regular(path)
    except OSError:
        return None
    try:
        record = _read_record(file)
        if record is None or fcntl is None:
            return record if record is not None and _is_alive(record) else None
        try:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return record if error.errno in BUSY_ERRORS or _is_alive(record) else None
        return None
    finally:
        os.close(file)


def _acquire_system_lock(file: int) -> bool | None:
    """Take the system's lock; False if the system has none, None if another process holds it."""
    if fcntl is None:
        return False
    for attempt in range(ATTEMPTS):
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:  # noqa: PERF203  (the loop waits)
            if error.errno not in BUSY_ERRORS:
                return False
            if attempt + 1 < ATTEMPTS:
                time.sleep(PAUSE_SECONDS)
    return None


def _own_record() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "boot": _boot(),
        "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _read_record(file: int) -> dict[str, Any] | None:
    """Read what the holder wrote; None if nothing is legible."""
    try:
        os.lseek(file, 0, os.SEEK_SET)
        value = parse_json(os.read(file, 4096))
    except (ValueError, OSError):  # another's bytes, a pipe or a directory
        return None
    return value if isinstance(value, dict) else None


def _boot() -> str:
    """Return an id of the machine's current boot; empty where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _is_alive(record: dict[str, Any]) -> bool:
    """Return whether the process of a record may still exist; one on another machine may."""
    if record.get("host") != socket.gethostname():
        return True
    if record.get("boot") != _boot():
        return False
    try:
        os.kill(int(record["pid"]), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, KeyError, ValueError, TypeError, OverflowError):  # no process id, or another's
        return True
    return True


def _short(value: Any) -> str:
    return short_repr(value).strip("'")


def locked_error(path: Path, record: dict[str, Any]) -> RunLockedError:
    """Return the error that says who holds a lock."""
    writer = f"process {_short(record.get('pid', '?'))} on {_short(record.get('host', '?'))}"
    since = f" since {_short(record['since'])}" if "since" in record else ""
    return RunLockedError(
        f"opening {path.parent}: {writer} has been writing it{since}; wait for that process or stop it "
        f"(if it is certainly gone, remove {path})"
    )
