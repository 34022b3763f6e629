"""Serve the live page: runs while they are written, on this machine alone.

Why a page and no terminal view: docs/decisions/030-watch-is-a-page.md.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import polars as pl

from fisherscope.plain_text import one_line, printable, short_repr
from fisherscope.report.html_document import document
from fisherscope.report.html_text import finite
from fisherscope.report.live_data import live_data
from fisherscope.report.run_page import run_page, run_state
from fisherscope.runs.reader import Runs, load_runs
from fisherscope.runs.run_listing import fingerprint

HOST = "127.0.0.1"
LOCAL_NAMES = (HOST, "localhost", "[::1]")
CLIENT_SECONDS = 10.0
"""Seconds without a byte after which a client is left."""
REQUEST_SECONDS = 60.0
"""Seconds after which a client is left in any case."""
NO_RUN = b"There is no such run here any more. <a href='./'>All runs</a>"
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
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # damaged files are listed on the page
                data = self._collect()
        except Exception as error:  # noqa: BLE001  (the page says it, and stays; the next change is read again)
            data = live_data(Runs({}, {}, {}))
            data["summary"] = f"{self.root} cannot be read: {type(error).__name__}: {short_repr(str(error))}"
        text = json.dumps(finite(data | {"seen": stamp}), ensure_ascii=False, allow_nan=False)
        self._data = printable(text).encode()
        self._stamp, self._next = stamp, time.monotonic() + REST * (time.monotonic() - began)

    def _collect(self) -> dict[str, Any]:
        """Collect what the page shows, a run at a time if all of them together cannot be shown.

        Returns:
            As `live_data`, damaged files named in its summary.
        """
        runs = load_runs(self.root)
        try:
            data = live_data(runs)
        except Exception as error:
            good = dict(runs.paths)
            for name, path in runs.paths.items():
                try:
                    live_data(runs.filter(pl.col("run_id") == name))
                except Exception as reason:  # noqa: BLE001, PERF203  (likewise)
                    del good[name]
                    runs.damaged[path] = f"{type(reason).__name__}: {reason}"
            if len(good) == len(runs):
                raise error
            data = live_data(runs.filter(pl.col("run_id").is_in(list(good))))
        if runs.damaged:
            data["summary"] += (
                f"; {len(runs.damaged)} damaged files left out, such as {next(iter(runs.damaged))}"
            )
        return data

    def run_page(self, run_id: str) -> bytes | None:
        """Return the page of one run, or None if there is no such run."""
        runs = self._load()
        if run_id not in runs.paths:
            return None
        return printable(run_page(runs, run_id, str(runs.paths[run_id]), live=True)).encode()

    def newer_run(self, run_id: str, seen: str) -> bytes | None:
        """Return one run's state as JSON; None if the stamp `seen` is the newest, or the run is gone."""
        stamp = fingerprint(self.root)
        runs = self._load() if stamp != seen else None
        if runs is None or run_id not in runs.paths:
            return None
        state = finite(run_state(runs, run_id) | {"seen": stamp})
        return printable(json.dumps(state, ensure_ascii=False, allow_nan=False)).encode()

    def _load(self) -> Runs:
        with self._lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged files are listed on the page of all runs
            return load_runs(self.root)


class LiveServer(ThreadingHTTPServer):
    """Serve one page and its data, on this machine alone.

    Args:
        root: Directory that runs are written to.
        port: Port to listen on; 0 takes a free one.
        allowed_hosts: Further names by which a browser may ask for the page.
    """

    def __init__(self, root: Path, port: int, allowed_hosts: Sequence[str] = ()) -> None:
        self.watched = WatchedDirectory(root)
        self.hosts = {*LOCAL_NAMES, *(name.lower() for name in allowed_hosts)}
        self.page = document(
            "live.html", f"{root.name} · fisherscope watch", ("draw.js", "plane.js", "curves.js", "live.js"),
            fetches=True, name=one_line(root.name or str(root)),
        ).encode(errors="replace")  # fmt: skip
        super().__init__((HOST, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print one line about what went wrong with a request; a client that went away is no news."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            sys.stderr.write(f"fisherscope: watch: {type(error).__name__}: {one_line(str(error))[:200]}\n")


class _Handler(BaseHTTPRequestHandler):
    """Answer four addresses: the page of all runs, that of one, and the data of each."""

    server: LiveServer
    timeout = CLIENT_SECONDS

    def setup(self) -> None:
        super().setup()
        self._deadline = threading.Timer(REQUEST_SECONDS, _hang_up, (self.connection,))
        self._deadline.daemon = True
        self._deadline.start()

    def finish(self) -> None:
        self._deadline.cancel()
        with suppress(OSError):  # the client has gone
            super().finish()

    def do_GET(self) -> None:
        name = _host_name(self.headers.get("Host", ""))
        if name not in self.server.hosts:  # a page elsewhere must not read it by a name of its own
            self._answer(403, _refusal(name).encode(errors="replace"), "text/plain; charset=utf-8")
            return
        try:
            address = urlsplit(self.path)
            query = parse_qs(address.query)
        except ValueError:
            self._answer(400, b"", "text/plain")
            return
        if address.path == "/":
            self._answer(200, self.server.page, "text/html; charset=utf-8")
        elif address.path == "/data.json":
            data = self.server.watched.newer(query.get("seen", [""])[0])
            self._answer(204 if data is None else 200, data or b"", "application/json")
        elif address.path == "/run":
            page = self.server.watched.run_page(query.get("id", [""])[0])
            self._answer(404 if page is None else 200, page or NO_RUN, "text/html; charset=utf-8")
        elif address.path == "/run.json":
            data = self.server.watched.newer_run(query.get("id", [""])[0], query.get("seen", [""])[0])
            self._answer(204 if data is None else 200, data or b"", "application/json")
        else:
            self._answer(404, b"", "text/plain")

    def _answer(self, code: int, body: bytes, kind: str) -> None:
        self.send_response(code)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store"}
        for name, value in headers.items():
            self.send_header(name, value)
        with suppress(OSError):  # the page was closed meanwhile, or reads too slowly
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the terminal is the user's."""


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        connection.shutdown(socket.SHUT_RDWR)


def _host_name(header: str) -> str:
    """Return the name in a Host header, in lower case and without its port.

    Any port will do: a page that was forwarded (`ssh -L`) has another one, and another site's name is refused
    whatever its port.
    """
    name, colon, port = header.strip().lower().rpartition(":")
    return name if colon and (port.isdigit() or not port) else header.strip().lower()


def _refusal(name: str) -> str:
    shown = one_line(name)[:80]
    return (
        f"This page of fisherscope watch answers to {', '.join(LOCAL_NAMES)}, and not to "
        f"{shown or 'no name'}, so that other sites cannot read it. If that is the name you reach it by, "
        f"start it with: fisherscope watch DIR --allow-host {shown or 'NAME'}\n"
    )


def server(
    directory: str | os.PathLike[str], port: int = 0, *, allowed_hosts: Sequence[str] = ()
) -> LiveServer:
    """Make a server of the live page of a directory; only this machine reaches it.

    Args:
        directory: Directory that runs are written to; it may still be empty.
        port: Port to listen on; 0 takes a free one.
        allowed_hosts: Names, besides localhost, by which a browser may ask for the page (behind a proxy).

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
        return LiveServer(root, port, allowed_hosts)
    except OSError as error:
        raise OSError(
            f"watching {root}: port {port} is taken ({error.strerror}); give another by --port"
        ) from error
