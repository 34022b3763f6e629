"""A downloader for pooch that goes on where an interrupted download stopped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # there is none on Windows: a download begins anew there
    fcntl = None  # type: ignore[assignment]

CHUNK = 1 << 16
SECONDS = 30
"""Without a byte, after which a connection counts as lost."""


def resuming(url: str, output_file: str, _: Any) -> None:
    """Download to `output_file`, as pooch asks; until it is whole, what has come is kept in NAME.part beside.

    Where another process is at the same file, this one downloads the whole for itself.

    Raises:
        requests.RequestException: The address can't be reached, or the connection was lost.
    """
    part = Path(output_file).parent / f"{url.rsplit('/', 1)[-1]}.part"
    with part.open("ab") as held:
        if _mine(held):
            try:
                _append(url, held)
            finally:
                if not held.tell():
                    part.unlink()
            os.replace(part, output_file)
            return
    with open(output_file, "wb") as whole:
        _append(url, whole)


def _mine(file: IO[bytes]) -> bool:
    """Whether no other process holds it; it is held until it is closed."""
    if fcntl is None:
        return False
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), os.stat(file.name))  # not renamed meanwhile
    except OSError:
        return False


def _append(url: str, file: IO[bytes]) -> None:
    """Ask for what `file` lacks; a server that knows no ranges sends the whole again."""
    import requests

    have = file.tell()
    ask = {"Range": f"bytes={have}-"} if have else {}
    with requests.get(url, headers=ask, stream=True, timeout=SECONDS) as answer:
        if have and answer.status_code == requests.codes.requested_range_not_satisfiable:
            return  # it was whole already; pooch checks
        answer.raise_for_status()
        if answer.status_code != requests.codes.partial_content:
            file.truncate(0)
        for chunk in answer.iter_content(CHUNK):
            file.write(chunk)
