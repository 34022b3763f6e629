"""Serve the live page: runs while they are written, on this machine alone.

Why a page and no terminal view: docs/decisions/030-watch-is-a-page.md.
"""

from __future__ import annotations

import json
import os
import threading
import time
import warnings
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from fisherscope.report.html_document import document
from fisherscope.report.live_data import live_data
from fisherscope.runs.queries import fingerprint
from fisherscope.runs.reader import load_runs

HOST = "127.0.0.1"
REST = 4.0
"""Pause after a read, in multiples of its time, so that watching many runs stays a small load."""


class WatchedDirectory:
    """Hold what a directory shows; its files are read again only when they have changed."""

    def __init__(self, root: Path) -> None:
        self.root, self._lock = root, threading.Lock()
        self._stamp, self._data, self._next = "", b"", 0.0

    def newer(self, seen: str) -> bytes | None:
        """Return the runs as JSON, or None if the stamp `seen` is the newest."""
        with self._lock:
            stamp = fingerprint(self.root)
            if stamp != self._stamp and time.monotonic() >= self._next:
                self._read(stamp)
            return None if seen == self._stamp else self._data

    def _read(self, stamp: str) -> None:
        began = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged files are listed on the page
            runs = load_runs(self.root)
            data = live_data(runs)
        if runs.damaged:
            data["summary"] += (
                f"; {len(runs.damaged)} damaged files left out, such as {next(iter(runs.damaged))}"
            )
        self._data = json.dumps(data | {"seen": stamp}, ensure_ascii=False, allow_nan=False).encode()
        self._stamp, self._next = stamp, time.monotonic() + REST * (time.monotonic() - began)


class LiveServer(ThreadingHTTPServer):
    """Serve one page and its data, on this machine alone.

    Args:
        root: Directory that runs are written to.
        port: Port to listen on; 0 takes a free one.
    """

    def __init__(self, root: Path, port: int) -> None:
        self.watched = WatchedDirectory(root)
        self.page = document(
            "live.html", f"{root.name} · fisherscope watch", ("draw.js", "plane.js", "curves.js", "live.js"),
            fetches=True, name=root.name or str(root),
        ).encode()  # fmt: skip
        super().__init__((HOST, port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    """Answer two addresses: the page, and its data."""

    server: LiveServer

    def do_GET(self) -> None:
        names = {f"{name}:{self.server.server_port}" for name in (HOST, "localhost")}
        address = urlsplit(self.path)
        if self.headers.get("Host") not in names:  # a page elsewhere must not read it by a name of its own
            self._answer(403, b"", "text/plain")
        elif address.path == "/":
            self._answer(200, self.server.page, "text/html; charset=utf-8")
        elif address.path == "/data.json":
            data = self.server.watched.newer(parse_qs(address.query).get("seen", [""])[0])
            self._answer(204 if data is None else 200, data or b"", "application/json")
        else:
            self._answer(404, b"", "text/plain")

    def _answer(self, code: int, body: bytes, kind: str) -> None:
        self.send_response(code)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store"}
        for name, value in headers.items():
            self.send_header(name, value)
        with suppress(BrokenPipeError, ConnectionResetError):  # the page was closed meanwhile
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the terminal is the user's."""


def server(directory: str | os.PathLike[str], port: int = 0) -> LiveServer:
    """Make a server of the live page of a directory; only this machine reaches it.

    Args:
        directory: Directory that runs are written to; it may still be empty.
        port: Port to listen on; 0 takes a free one.

    Returns:
        The server; `serve_forever` runs it, `server_port` is its port.

    Raises:
        FileNotFoundError: The directory does not exist.
        OSError: The port is in use.
        ValueError: The port is not between 0 and 65535.
    """
    if not 0 <= port < 1 << 16:
        raise ValueError(f"watching {directory} at port {port}: expected 0 (a free one) to 65535")
    root = Path(directory)
    if not root.is_dir():
        raise FileNotFoundError(
            f"watching {root}: it is not a directory; expected the directory that runs are written to"
        )
    try:
        return LiveServer(root, port)
    except OSError as error:
        raise OSError(
            f"watching {root}: port {port} is taken ({error.strerror}); give another by --port"
        ) from error
