"""The page of one run in a real browser: charts, axes, zoom, decisions, odd rows, and its live form."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cases.chromium import complaints, requests
from tests.cases.page_texts import HOSTILE, text

import fisherscope as fs
from fisherscope.report import write_report
from fisherscope.report.live_server import server
from fisherscope.training import Configuration, train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run whose policy changes the batch size, with spectra."""
    root = tmp_path_factory.mktemp("run")
    settings = {"task": "digits/mlp", "policy": "s16-noise-scale", "lr": 0.05, "epochs": 4, "every": 4}
    train(Configuration.of(settings), root)
    return root


def opened(browser: Any, address: str, charts: int = 1) -> Any:
    requests(browser), complaints(browser)
    browser.get(address)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and browser.execute_script("return run.charts.length") < charts:
        time.sleep(0.05)
    return browser


@pytest.fixture
def page(browser: Any, run: Path) -> Any:
    return opened(browser, write_report(run, run.parent / "run.html").as_uri())


def test_every_chart_has_values_and_nothing_is_fetched(page: Any) -> None:
    titles = page.execute_script("return [...document.querySelectorAll('.panel h3')].map(h => h.textContent)")
    for title in ("Loss", "Error", "Batch size and learning rate", "Noise scale", "Effective rank",
                  "Singular values of the per-sample gradients"):  # fmt: skip
        assert title in titles
    inked = page.execute_script(
        "return [...document.querySelectorAll('.panel canvas')].map(c => {"
        " const p = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        " let n = 0; for (let k = 3; k < p.length; k += 4) n += p[k] > 0; return n; })"
    )
    assert len(inked) == len(titles)
    assert min(inked) > 500
    assert not complaints(page)
    assert not requests(page)


def test_the_axis_changes_and_zooming_one_chart_zooms_all(page: Any) -> None:
    ends = "return run.charts.map(u => [u.scales.x.min, u.scales.x.max])"
    steps = page.execute_script(ends)
    page.execute_script("document.querySelectorAll('input[name=axis]')[1].click()")
    epochs = page.execute_script(ends)
    assert steps[0][1] > 4 * epochs[0][1]  # some ten steps an epoch
    page.execute_script("run.charts[0].setScale('x', {min: 1, max: 2})")
    time.sleep(0.2)
    assert page.execute_script(ends) == [[1, 2]] * len(epochs)
    page.execute_script(
        "[...document.querySelectorAll('button')].find(b => b.textContent === 'show all').click()"
    )
    assert page.execute_script(ends)[0] == epochs[0]


def test_a_decision_says_its_reason(page: Any) -> None:
    said = page.execute_script(
        "const u = run.charts.find(c => c.series.some(s => s.label === 'learning rate'));"
        "const data = JSON.parse(document.getElementById('data').textContent);"
        "const one = data.decisions[0];"
        "u.setCursor({left: u.valToPos(one.at[data.axes[0].name], 'x'), top: 20}); return one.text;"
    )
    assert "noise-scale" in said
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and said not in text(page, "#tip"):
        time.sleep(0.05)
    assert said in text(page, "#tip")


def test_on_a_phone_nothing_runs_over(page: Any, run: Path) -> None:
    page.set_window_size(500, 900)
    try:
        opened(page, (run.parent / "run.html").as_uri())
        wide = page.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1]
    finally:
        page.set_window_size(1200, 1000)


def test_two_runs_are_chosen_by_name_without_plane_or_claims(browser: Any, tmp_path: Path) -> None:
    for lr in (0.01, 0.1):
        settings = {"task": "digits/mlp", "batch_size": 32, "lr": lr, "epochs": 2, "every": 4}
        train(Configuration.of(settings), tmp_path / "runs")
    page = opened(browser, write_report(tmp_path / "runs", tmp_path / "two.html").as_uri())
    words = text(page, "main")
    assert "Each run" in words
    assert "Table 1 are drawn from 4 settings on" in words
    assert "claims, tested on these runs" not in words
    loss = "return run.charts[0].data.slice(1)"
    before = page.execute_script(loss)
    page.execute_script(
        "const s = document.getElementById('which-run'); s.selectedIndex = 1;"
        "s.dispatchEvent(new Event('change'))"
    )
    assert page.execute_script(loss) != before
    assert not complaints(page)


def test_hostile_texts_stay_text(tmp_path: Path) -> None:
    with fs.open_run(tmp_path / "one", {"task": HOSTILE, "seed": 0}) as run:
        run.log_epoch(epoch=1, step=1, val_loss=0.5, **{"policy/decisions": f"step 1: {HOSTILE}"})
        run.log_spike({"step": 1, "norm": 3.0, "blamed_samples": [{"sample": HOSTILE, "explained": 0.5}]})
        run.finish("diverged", HOSTILE)
    page = write_report(tmp_path / "one", tmp_path / "page.html").read_text(encoding="utf-8")
    assert HOSTILE not in page


@pytest.fixture
def live(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    served = server(tmp_path)
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    yield tmp_path, f"http://127.0.0.1:{served.server_port}/"
    served.shutdown()
    served.server_close()


def test_the_live_page_of_a_run_follows_it(live: tuple[Path, str], browser: Any) -> None:
    root, address = live
    with fs.open_run(root / "mine", {"task": "mine", "seed": 0}) as run:
        run.log_epoch(epoch=1, step=10, val_loss=1.0)
        run.log_epoch(epoch=2, step=20, val_loss=0.5)
        page = opened(browser, f"{address}run?id=mine")
        assert page.execute_script("return run.charts[0].data[0].length") == 2
        run.log_epoch(epoch=3, step=30, val_loss=0.25)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and page.execute_script("return run.charts[0].data[0].length") < 3:
            time.sleep(0.1)
        assert page.execute_script("return run.charts[0].data[1]") == [1, 0.5, 0.25]
        assert "3 epochs" in text(page, "#summary")
    browser.get(f"{address}run?id=gone")
    assert "no such run" in text(browser, "body")
