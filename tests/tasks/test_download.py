"""Downloads that broke off."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from fisherscope.tasks import DataError
from fisherscope.tasks.datasets.files import Published, fetch


class Cutting(BaseHTTPRequestHandler):
    """Serves one file by ranges; the first answer breaks off after some of it."""

    data = bytes(range(256)) * 2000
    asked: list[str | None]

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(self.data) - start))
        self.end_headers()
        end = 300_000 if len(self.asked) == 1 else len(self.data)
        self.wfile.write(self.data[start:end])

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def test_a_download_that_broke_off_goes_on_where_it_stopped(tmp_path: Path) -> None:
    handler = type("Handler", (Cutting,), {"asked": []})
    file = Published("file.bin", "", hashlib.md5(Cutting.data).hexdigest(), 1)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        file = replace(file, address=f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(DataError, match=r"downloading file\.bin"):
            fetch(tmp_path, file)
        held = (tmp_path / "file.bin.part").stat().st_size
        assert fetch(tmp_path, file).read_bytes() == Cutting.data
        server.shutdown()
    assert handler.asked == [None, f"bytes={held}-"]
    assert held > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.bin"]


def test_a_part_that_is_not_the_files_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"something else")
    handler = type("Handler", (Cutting,), {"asked": [None]})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        file = Published("file.bin", address, hashlib.md5(Cutting.data).hexdigest(), 1)
        with pytest.raises(DataError, match="does not match"):
            fetch(tmp_path, file)
        assert fetch(tmp_path, file).read_bytes() == Cutting.data  # started over
        server.shutdown()
