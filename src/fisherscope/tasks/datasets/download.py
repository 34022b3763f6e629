"""Download files for pooch, resuming where an interrupted download stopped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # not on Windows: a download starts over there
    fcntl = None  # type: ignore[assignment]

CHUNK = 1 << 16
SECONDS = 30
"""Seconds without a byte after which a connection counts as lost."""


def resume_download(url: str, output_file: str, _: Any) -> None:
    """Download to `output_file`, as pooch asks, via NAME.part, which a later call resumes.

    If another process is downloading the same file, this one downloads all of it for itself.

    Raises:
        requests.RequestException: The address cannot be reached, or the connection was lost.
    """
    part = Path(output_file).parent / f"{url.rsplit('/', 1)[-1]}.part"
    with part.open("ab") as file:
        if _lock(file):
            try:
                _append(url, file)
            finally:
                if not file.tell():
                    part.unlink()
            os.replace(part, output_file)
            return
    with open(output_file, "wb") as whole:
        _append(url, whole)


def _lock(file: IO[bytes]) -> bool:
    """Lock a file until it is closed; return whether no other process had locked it."""
    if fcntl is None:
        return False
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), os.stat(file.name))  # not renamed meanwhile
    except OSError:
        return False


def _append(url: str, file: IO[bytes]) -> None:
    """Request the rest of `file`; a server without range requests sends all of it again."""
    import requests

    size = file.tell()
    headers = {"Range": f"bytes={size}-"} if size else {}
    with requests.get(url, headers=headers, stream=True, timeout=SECONDS) as response:
        if size and response.status_code == requests.codes.requested_range_not_satisfiable:
            return  # the file is complete; pooch verifies it
        response.raise_for_status()
        if response.status_code != requests.codes.partial_content:
            file.truncate(0)
        for chunk in response.iter_content(CHUNK):
            file.write(chunk)
