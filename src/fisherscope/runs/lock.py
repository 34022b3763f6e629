"""One writer a run: a lock that its holder's death releases.

The operating system's record lock does it: it goes when the process goes, however it goes, and is not
inherited by its children. Where the file system gives none, the holder's record in the lock file counts, and
is stale when its process is gone or its machine was started anew.
"""

import errno
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from fisherscope.runs.atomic_io import failure
from fisherscope.runs.errors import RunLockedError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

HELD = {errno.EACCES, errno.EAGAIN}
ATTEMPTS, PAUSE_SECONDS = 10, 0.02  # a reader that asks who holds it does so for microseconds

_mine: dict[str, int] = {}
"""Lock files held by this process (or, after a fork, by its parent): path → pid.

A record lock does not exclude its own process, and closing any descriptor of the file releases it.
"""


class Lock:
    """The right to write one run directory.

    Raises:
        RunLockedError: Somebody else has it.
        RunError: The lock file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._key = path, str(path.resolve())
        if self._key in _mine:
            raise _taken(path, {"pid": _mine[self._key], "host": socket.gethostname()})
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise failure("locking", path, error) from error
        try:
            self._acquire()
        except BaseException:
            os.close(self._file)
            raise
        _mine[self._key] = os.getpid()

    def release(self) -> None:
        """Let others write."""
        if _mine.get(self._key) != os.getpid():
            return
        os.ftruncate(self._file, 0)
        os.close(self._file)
        del _mine[self._key]

    def _acquire(self) -> None:
        locked, left = _locked(self._file), _record(self._file)
        if locked is None or (not locked and left is not None and _lives(left)):
            raise _taken(self.path, left or {})
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, json.dumps(_self()).encode())


def holder(path: Path) -> dict[str, Any] | None:
    """Who holds a lock (pid, host, since); None where nobody does."""
    key = str(path.resolve())
    if key in _mine:
        return {"pid": _mine[key], "host": socket.gethostname()}
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        left = _record(file)
        if left is None or fcntl is None:
            return left if left is not None and _lives(left) else None
        try:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return left if error.errno in HELD or _lives(left) else None
        return None
    finally:
        os.close(file)


def _locked(file: int) -> bool | None:
    """Take the system's lock; False where there are none to take, None where somebody else has it."""
    if fcntl is None:
        return False
    for attempt in range(ATTEMPTS):
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:  # noqa: PERF203  (that is the wait)
            if error.errno not in HELD:
                return False
            if attempt + 1 < ATTEMPTS:
                time.sleep(PAUSE_SECONDS)
    return None


def _self() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "boot": _boot(),
        "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _record(file: int) -> dict[str, Any] | None:
    """What the holder wrote; None where there is nothing legible."""
    try:
        os.lseek(file, 0, os.SEEK_SET)
        value = json.loads(os.read(file, 4096))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _boot() -> str:
    """Differs from one start of the machine to the next, where the system tells."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _lives(left: dict[str, Any]) -> bool:
    """Whether the process of a record may still be there; one on another host may."""
    if left.get("host") != socket.gethostname():
        return True
    if left.get("boot") != _boot():
        return False
    try:
        os.kill(int(left["pid"]), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, KeyError, ValueError):
        return True
    return True


def _taken(path: Path, left: dict[str, Any]) -> RunLockedError:
    who = f"process {left.get('pid', '?')} on {left.get('host', '?')}"
    since = f" since {left['since']}" if "since" in left else ""
    return RunLockedError(
        f"opening {path.parent}: {who} has been writing it{since}; wait for it or stop it "
        f"(if that process is certainly gone, remove {path})"
    )
