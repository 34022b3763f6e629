"""The live page: a small server on this machine that shows runs while they are written."""

from __future__ import annotations

import hashlib
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
from fisherscope.report.html_text import safe
from fisherscope.report.live_data import live_data
from fisherscope.runs.reader import load_runs

HOST = "127.0.0.1"
WATCHED = ("run.json", "steps.jsonl", "epochs.jsonl", "lock")
REST = 4.0
"""Times as long as reading took before runs are read again, so that watching many stays a small load."""
BODY = (
    '<main><header><h1><span id="dot" class="live"></span>{name}</h1><p id="told">reading …</p></header>'
    '<div class="card wide tall" id="runs"></div>'
    "<h2>Against epochs</h2><p>Point at a line, a mark or a row; click to keep it in colour.</p>"
    '<div class="card" id="curves"></div>'
    "<h2>The plane of C̄ and L</h2><div class='card' id='plane'></div></main>"
)


class WatchedDirectory:
    """What there is to show of a directory; read again only when its files have changed."""

    def __init__(self, root: Path) -> None:
        self.root, self._lock = root, threading.Lock()
        self._stamp, self._data, self._next = "", b"", 0.0

    def newer(self, seen: str) -> bytes | None:
        """JSON of the runs, or None where the stamp `seen` is the newest."""
        with self._lock:
            stamp = self._look()
            if stamp != self._stamp and time.monotonic() >= self._next:
                self._read(stamp)
            return None if seen == self._stamp else self._data

    def _look(self) -> str:
        """A hash of names, sizes and times of the files that count."""
        found = hashlib.sha256()
        for place, _, files in os.walk(self.root):
            for name in sorted(set(files) & set(WATCHED)):
                try:
                    state = os.stat(os.path.join(place, name))
                except OSError:  # removed meanwhile
                    continue
                found.update(f"{place}/{name} {state.st_size} {state.st_mtime_ns}\n".encode())
        return found.hexdigest()[:16]

    def _read(self, stamp: str) -> None:
        began = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged files are told on the page
            runs = load_runs(self.root)
            data = live_data(runs)
        if runs.damaged:
            data["told"] += (
                f"; {len(runs.damaged)} damaged files left out, such as {next(iter(runs.damaged))}"
            )
        self._data = json.dumps(data | {"seen": stamp}, ensure_ascii=False, allow_nan=False).encode()
        self._stamp, self._next = stamp, time.monotonic() + REST * (time.monotonic() - began)


def server(directory: str | os.PathLike[str], port: int = 0) -> ThreadingHTTPServer:
    """A server of the live page of `directory`, reachable from this machine alone; `serve_forever` runs it.

    Args:
        directory: Of runs; it may be empty as yet.
        port: 0 takes a free one; `server_address` has it.

    Raises:
        FileNotFoundError: There is no such directory.
        OSError: The port is taken.
        ValueError: It is no port.
    """
    if not 0 <= port < 1 << 16:
        raise ValueError(f"watching {directory} at port {port}: expected 0 (a free one) to 65535")
    root = Path(directory)
    if not root.is_dir():
        raise FileNotFoundError(
            f"watching {root}: it is not a directory; give the one that runs are written to"
        )
    watched = WatchedDirectory(root)
    page = document(
        f"{root.name} · fisherscope watch", BODY.format(name=safe(root.name or root)),
        ("draw.js", "plane.js", "curves.js", "live.js"), fetches=True,
    ).encode()  # fmt: skip

    class Handler(BaseHTTPRequestHandler):
        """Two addresses: the page, and its data."""

        def do_GET(self) -> None:
            allowed = {f"{name}:{serving.server_port}" for name in (HOST, "localhost")}
            address = urlsplit(self.path)
            if (
                self.headers.get("Host") not in allowed
            ):  # a page elsewhere must not read it by a name of its own
                self._answer(403, b"", "text/plain")
            elif address.path == "/":
                self._answer(200, page, "text/html; charset=utf-8")
            elif address.path == "/data.json":
                data = watched.newer(parse_qs(address.query).get("seen", [""])[0])
                self._answer(204 if data is None else 200, data or b"", "application/json")
            else:
                self._answer(404, b"", "text/plain")

        def _answer(self, code: int, body: bytes, kind: str) -> None:
            self.send_response(code)
            for name, value in (
                ("Content-Type", kind),
                ("Content-Length", len(body)),
                ("Cache-Control", "no-store"),
            ):
                self.send_header(name, str(value))
            with suppress(BrokenPipeError, ConnectionResetError):  # the page was closed meanwhile
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the terminal is the user's."""

    try:
        serving = ThreadingHTTPServer((HOST, port), Handler)
        return serving
    except OSError as error:
        raise OSError(
            f"watching {root}: port {port} is taken ({error.strerror}); give another by --port"
        ) from error
