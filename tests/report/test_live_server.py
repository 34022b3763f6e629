"""The live page in a real browser."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cases.chromium import complaints, requests
from tests.cases.page_texts import text

import fisherscope as fs
from fisherscope.report import live_server
from fisherscope.report.live_server import server


@pytest.fixture
def live(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    root = tmp_path / "runs"
    root.mkdir()
    with server(root) as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        yield root, f"http://127.0.0.1:{serving.server_port}/"
        serving.shutdown()
        thread.join()


def fetched(address: str, host: str | None = None) -> tuple[int, Any]:
    request = urllib.request.Request(address, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            body = answer.read()
            return answer.status, json.loads(body) if body else None
    except urllib.error.HTTPError as error:
        return error.code, None


def test_the_live_page_follows_a_run(live: tuple[Path, str], browser: Any) -> None:
    root, address = live
    requests(browser), complaints(browser)
    browser.get(address)
    assert _until(browser, "no run yet")
    with fs.open_run(
        root / "mine", {"batch_size": 32, "lr": 0.1, "policy": "s32", "seed": 0, "epochs": 4}
    ) as run:
        for epoch in (1, 2):
            run.log_step(
                {"step": 10 * epoch, "epoch": epoch - 0.5, "train/loss": 1.0, "batch_size": 32, "lr": 0.1}
            )
            run.log_epoch(epoch=epoch, step=20 * epoch, val_error=0.5 / epoch, time_train_s=90.0)
        assert _until(browser, "mine running 2 of 4 3 min 32 0.1")
    assert _until(browser, "mine finished")
    assert not complaints(browser)
    assert all(url.startswith(address) for url in requests(browser))


def _until(page: Any, words: str, seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if words in re.sub(r"\s+", " ", text(page, "main")):
            return True
        time.sleep(0.1)
    return False


def test_live_data_come_once_and_to_this_machine_alone(live: tuple[Path, str]) -> None:
    _, address = live
    code, data = fetched(address + "data.json")
    assert (code, data["rows"]) == (200, [])
    assert fetched(address + f"data.json?seen={data['seen']}") == (204, None)
    assert fetched(address + "data.json", host="elsewhere.example")[0] == 403
    assert fetched(address + "../etc/passwd")[0] == 404


def test_watching_says_what_is_wrong(tmp_path: Path, live: tuple[Path, str]) -> None:
    with pytest.raises(FileNotFoundError, match="not a directory"):
        server(tmp_path / "absent")
    with pytest.raises(ValueError, match="port 65536: expected 0"):
        server(tmp_path, 1 << 16)
    taken = int(live[1].rstrip("/").rpartition(":")[2])
    with pytest.raises(OSError, match=f"port {taken} is taken"):
        server(tmp_path, taken)


def answer(address: str, request: bytes) -> bytes:
    """Send raw bytes, and read all that comes back."""
    port = int(address.rstrip("/").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("host", ["localhost:9999", "127.0.0.1:80", "localhost", "[::1]:8000", "LOCALHOST:1"])
def test_a_forwarded_port_shows_the_page(live: tuple[Path, str], host: str) -> None:
    assert fetched(live[1] + "data.json", host=host)[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example:1", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::2]"]
)
def test_another_name_is_refused_in_a_sentence(live: tuple[Path, str], host: str) -> None:
    said = answer(live[1], f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode()).decode()
    assert said.startswith("HTTP/1.0 403")
    assert "fisherscope watch DIR --allow-host" in said


def test_a_name_that_is_allowed_is_answered(tmp_path: Path) -> None:
    with server(tmp_path, allowed_hosts=["gpu.lab.example"]) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        try:
            address = f"http://127.0.0.1:{serving.server_port}/"
            assert fetched(address + "data.json", host="gpu.lab.example:443")[0] == 200
            assert fetched(address + "data.json", host="other.lab.example")[0] == 403
        finally:
            serving.shutdown()


def test_bad_requests_and_slow_clients_are_left_and_others_served(
    live: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(live_server._Handler, "timeout", 1.0)
    for line in (b"GET http://[/ HTTP/1.0", b"GET //[ HTTP/1.0", b"\x00\xff", b"POST / HTTP/1.0", b"GET"):
        answer(live[1], line + b"\r\nHost: localhost\r\n\r\n")
    port = int(live[1].rstrip("/").rpartition(":")[2])
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    slow[0].sendall(b"GET / HT")
    assert fetched(live[1] + "data.json")[0] == 200
    for connection in slow:
        connection.settimeout(20)
        assert connection.recv(1000) == b"", "the server hangs up"
        connection.close()
    assert "Traceback" not in capfd.readouterr().err


def test_a_directory_that_is_gone_is_said_on_the_page(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    watched = live_server.WatchedDirectory(tmp_path / "runs")
    (tmp_path / "runs").rmdir()
    data = json.loads(watched.newer("") or b"")
    assert "cannot be read: FileNotFoundError" in data["summary"]
    with fs.open_run(tmp_path / "runs" / "a", {"batch_size": 8, "lr": 0.1}) as run:
        run.log_epoch(val_error=0.1)
    watched._next = 0.0
    assert [row["run"] for row in json.loads(watched.newer(data["seen"]) or b"")["rows"]] == ["a"]
