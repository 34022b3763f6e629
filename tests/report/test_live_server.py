"""The live page in a real browser."""

from __future__ import annotations

import json
import re
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
