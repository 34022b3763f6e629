"""The page in a real browser, and what is on it where runs are few, odd or hostile."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from tests.cases.chromium import complaints, requests
from tests.cases.page_texts import HOSTILE, text
from tests.cases.planted_sweep import Truth, write

from fisherscope.analysis import AnalysisError
from fisherscope.report import write_report
from fisherscope.report.html_text import json_script


@pytest.fixture
def shown(browser: Any, page: Path) -> Any:
    """The page, freshly opened."""
    requests(browser), complaints(browser)
    browser.get(page.as_uri())
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not places(browser):
        time.sleep(0.05)  # the charts are drawn once the browser has laid the page out
    return browser


def places(page: Any) -> dict[str, tuple[float, float]]:
    """Where each mark is."""
    code = (
        "return [...document.querySelectorAll('#plane .mark')].map(m => {"
        " const b = m.getBoundingClientRect();"
        " return [m.dataset.setting, b.x + b.width / 2, b.y + b.height / 2]; })"
    )
    return {name: (x, y) for name, x, y in page.execute_script(code)}


def point_at(page: Any, selector: str) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    target = page.find_element(By.CSS_SELECTOR, selector)
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", target)
    ActionChains(page).move_to_element(target).perform()


def test_the_page_is_interactive_quiet_and_alone(shown: Any) -> None:
    assert len(places(shown)) == 17
    assert shown.execute_script("return document.title").startswith("<script>")
    assert not complaints(shown)
    assert not requests(shown)


def test_hover_says_configuration_errors_and_measures(shown: Any) -> None:
    point_at(shown, '.mark[data-setting="s16-lr0.05"]')
    tip = text(shown, "#tip")
    assert tip.startswith("s16-lr0.05")
    for words in ("batch size", "16", "learning rate", "0.05", "2 seeds", "validation error (%), end",
                  "test error (%), end", "C̄", "L, summed energy"):  # fmt: skip
        assert words in tip
    assert shown.execute_script("return document.querySelector('tr.hovered').dataset.setting") == "s16-lr0.05"
    point_at(shown, "h1")
    assert shown.execute_script("return document.getElementById('tip').hidden")


def test_the_slider_moves_the_runs(shown: Any) -> None:
    slide = (
        "const s = document.querySelector('#plane input[type=range]'); s.value = arguments[0];"
        "s.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    shown.execute_script(slide, 0)
    assert text(shown, "output") == "epoch 1 of 8"
    early = places(shown)
    shown.execute_script(slide, 6)
    late = places(shown)
    assert all(late[name][1] < early[name][1] for name in early if name != "s64-lr0.025")  # L grows upwards


def test_play_reaches_the_end(shown: Any) -> None:
    shown.execute_script("document.querySelector('.play').click()")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (
        text(shown, ".play") != "▶ play" or text(shown, "output")[6] != "8"
    ):
        time.sleep(0.05)
    assert text(shown, "output") == "epoch 8 of 8"


def test_toggles_change_contours_and_metric(shown: Any) -> None:
    bands_now = "return [...document.querySelectorAll('.surface path')].map(p => p.getAttribute('d')).join()"
    validation = shown.execute_script(bands_now)
    assert validation
    shown.execute_script("document.querySelectorAll('#plane [type=radio]')[1].click()")
    assert "training error" in text(shown, ".key")
    assert shown.execute_script(bands_now) != validation
    shown.execute_script("document.querySelector('#plane [type=checkbox]').click()")
    assert shown.execute_script(bands_now) == ""
    shown.execute_script("document.querySelectorAll('#plane [type=checkbox]')[1].click()")
    assert shown.execute_script("return document.querySelectorAll('.trail').length") == 17
    assert not complaints(shown)


def test_a_click_keeps_a_line_and_keys_go_through_settings(shown: Any) -> None:
    shown.execute_script("document.querySelector('tr[data-setting=\"s64-lr0.2\"]').click()")
    assert "s64-lr0.2" in text(shown, ".chips")
    shown.execute_script("document.querySelector('#plane svg').focus()")
    shown.switch_to.active_element.send_keys("\ue014")  # right arrow
    assert text(shown, "#tip").startswith("s16-lr0.025")


def test_on_a_phone_nothing_runs_over(shown: Any) -> None:
    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    shown.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        assert shown.execute_script("return document.documentElement.scrollWidth") <= 360
    finally:
        shown.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_print_shows_everything(shown: Any) -> None:
    assert len(shown.execute_cdp_cmd("Page.printToPDF", {})["data"]) > 50_000
    assert shown.execute_script("return [...document.querySelectorAll('details')].every(d => d.open)")


def test_hostile_names_stay_text(page: Path) -> None:
    whole = page.read_text()
    assert HOSTILE not in whole
    assert whole.count("<script") == 5  # three of the charts, the start, the data
    assert "</script>" not in json_script({"x": "</script><!--"}, "y").removesuffix("</script>")


@pytest.mark.parametrize(
    ("truth", "words"),
    [
        (Truth(batch_sizes=(8, 16), lrs=(0.1,), seeds=1, epochs=4), "too few for a surface"),
        (Truth(lrs=(0.1,), batch_sizes=(8, 16), seeds=2, epochs=4, diverged=("s8-lr0.1", "s16-lr0.1")),
         "diverged"),
        (Truth(seeds=1, epochs=6, lrs=(0.1,), unfinished={f"s{b}-lr0.1": 2 for b in (8, 16, 32, 64)}),
         "not finished"),
        (Truth(seeds=1, epochs=3, measures=False), "fisher/cond_mean"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_said(tmp_path: Path, truth: Truth, words: str) -> None:
    text = write_report(write(tmp_path / "runs", truth), tmp_path / "report.html").read_text()
    assert words in text
    assert "NaN" not in text


def test_mixed_tasks_are_refused_by_name(tmp_path: Path) -> None:
    for task in ("a/one", "b/two"):
        write(tmp_path / task, Truth(seeds=1, epochs=2, batch_sizes=(8,), lrs=(0.1,), task=task))
    with pytest.raises(AnalysisError, match=r"a/one \(1 runs\), b/two"):
        write_report(tmp_path, tmp_path / "report.html")
    assert "a/one" in write_report(tmp_path, tmp_path / "report.html", task="a/one").read_text()
