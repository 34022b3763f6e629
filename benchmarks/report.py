"""What the report of 200 runs costs to make and to open: `python benchmarks/report.py`.

Two directories of 200 runs, written from the committed sweep digits-resnet8: its own 200 (46 settings, up to
five seeds, schedules among them), and as many settings of one seed each (the same runs, the rate of each seed
a little aside). Each is made into a page in a process of its own, and opened in a real Chromium (needs Chromium
with its ChromeDriver, and selenium): `interactive_s` is from asking for the page to the tip under the pointer. Writes benchmarks/results/report.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl

import fisherscope as fs

HERE = Path(__file__).parent
SWEEP = HERE.parent / "experiments" / "results" / "sweeps" / "digits-resnet8.zip"
RUNS, TURNS = 200, 5
SLIDE = (
    "const s = document.querySelector('#plane input[type=range]'), began = performance.now();"
    "for (let k = 0; k <= +s.max; k++) { s.value = k; s.dispatchEvent(new Event('input', {bubbles: true})); }"
    "document.body.getBoundingClientRect();"
    "return (performance.now() - began) / (+s.max + 1)"
)
HOVER = (
    "const marks = [...document.querySelectorAll('#plane .mark')], began = performance.now();"
    "for (const m of marks) { const b = m.getBoundingClientRect();"
    " m.dispatchEvent(new PointerEvent('pointermove', {bubbles: true, clientX: b.x + b.width / 2,"
    " clientY: b.y + b.height / 2})); }"
    "document.body.getBoundingClientRect();"
    "return (performance.now() - began) / marks.length"
)
LOADED = "return performance.getEntriesByType('navigation')[0].loadEventEnd"


def written(root: Path, *, apart: bool) -> Path:
    """Run directories of the committed sweep's first runs; `apart` makes each a setting of its own."""
    runs = fs.load_runs(SWEEP)
    chosen = sorted(runs.paths)[:RUNS]
    if apart:
        fixed = runs.filter(pl.col("policy").str.contains("-to-").not_())
        chosen = [*sorted(fixed.paths), *chosen][:RUNS]
    steps, epochs = (
        dict(frame.partition_by("run_id", as_dict=True, include_key=False))
        for frame in (runs.steps, runs.epochs)
    )
    for place, run_id in enumerate(chosen):
        config = dict(runs.head(run_id)["config"])
        if apart:
            config |= {
                "lr": config["lr"] * (1 + 0.1 * config["seed"] + 1e-3 * place),
                "seed": 0,
                "policy": None,
            }
        with fs.open_run(root / f"{place:03d}-{run_id}", config) as run:
            for row in steps[run_id,].iter_rows(named=True):
                run.log_step({key: value for key, value in row.items() if value is not None})
            for row in epochs[run_id,].iter_rows(named=True):
                run.log_epoch({key: value for key, value in row.items() if value is not None})
            run.finish("finished", "")
    return root


def made(root: Path, page: Path) -> tuple[list[float], list[float]]:
    """Seconds of `fisherscope report`, start of Python included, a few times; and of its processor time."""
    command = [sys.executable, "-m", "fisherscope", "report", str(root), "-o", str(page)]
    seconds, processor = [], []
    for _ in range(3):
        began, before = time.perf_counter(), sum(os.times()[2:4])
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
        processor.append(sum(os.times()[2:4]) - before)
    return seconds, processor


def opened(page: Path) -> dict[str, Any]:
    """What the page takes in a browser, freshly opened each time; milliseconds and seconds as named."""
    from tests.cases.chromium import chromium, complaints, requests

    found: dict[str, list[float]] = {"load_ms": [], "interactive_s": [], "slide_ms": [], "hover_ms": []}
    said, asked, marks = 0, 0, 0
    with chromium() as browser:
        for _ in range(TURNS):
            browser.get("about:blank")
            requests(browser), complaints(browser)
            began = time.perf_counter()
            browser.get(page.as_uri())
            point_at(browser, "#plane .mark")
            assert not browser.execute_script("return document.getElementById('tip').hidden"), "no tip"
            found["interactive_s"].append(time.perf_counter() - began)
            found["load_ms"].append(browser.execute_script(LOADED))
            found["slide_ms"].append(browser.execute_script(SLIDE))
            found["hover_ms"].append(browser.execute_script(HOVER))
            marks = browser.execute_script("return document.querySelectorAll('#plane .mark').length")
            said, asked = said + len(complaints(browser)), asked + len(requests(browser))
        version = browser.capabilities["browserVersion"]
    medians = {name: statistics.median(values) for name, values in found.items()}
    worst = {f"{name}_worst": max(values) for name, values in found.items()}
    return {
        **medians, **worst, "marks": marks, "console_messages": said, "requests": asked, "chromium": version
    }  # fmt: skip


def point_at(browser: Any, selector: str) -> None:
    """Move the pointer there."""
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    target = browser.find_element(By.CSS_SELECTOR, selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", target)
    ActionChains(browser).move_to_element(target).perform()


def main() -> None:
    """Both directories."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "report.json")
    out = parser.parse_args().out
    cases = {}
    with tempfile.TemporaryDirectory() as place:
        for name, apart in (("200 runs", False), ("200 settings", True)):
            page = Path(place) / f"{name}.html"
            root = written(Path(place) / name, apart=apart)
            seconds, processor = made(root, page)
            cases[name] = {
                "settings": fs.load_runs(root).runs.select("batch_size", "lr", "policy").n_unique(),
                "build_seconds": statistics.median(seconds), "build_seconds_worst": max(seconds),
                "build_processor_seconds": statistics.median(processor),
                "megabytes": page.stat().st_size / 1e6, **opened(page),
            }  # fmt: skip
            print(name, json.dumps(cases[name], indent=1), flush=True)
    circumstances = {
        "command": "python benchmarks/report.py", "fisherscope": fs.__version__, "python": platform.python_version(),
        "polars": pl.__version__, "machine": platform.machine(), "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }  # fmt: skip
    out.write_text(json.dumps({"circumstances": circumstances, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    main()
