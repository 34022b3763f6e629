"""One HTML page of a directory of runs: recommendation, landscape, curves, claims, and how it was made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fisherscope import analysis
from fisherscope.analysis import Landscape, Settings, settings_of
from fisherscope.analysis.data.run_measures import COND, ENERGY
from fisherscope.report import reproducibility, sections
from fisherscope.report.chart_data import chart_data
from fisherscope.report.html_document import document
from fisherscope.report.html_text import embedded, safe
from fisherscope.report.sections import attempted, heading
from fisherscope.runs.reader import Runs, load_runs

SCRIPTS = ("draw.js", "plane.js", "curves.js")
START = 'start(JSON.parse(document.getElementById("data").textContent));'


def write_report(
    directory: str | os.PathLike[str], out: str | os.PathLike[str] = "report.html", *,
    task: str | None = None, x: str = COND, y: str = ENERGY, metric: str | None = None,
) -> Path:  # fmt: skip
    """Write the page of the runs in `directory` to `out`.

    Args:
        directory: Of runs, at any depth.
        out: The file.
        task: Which, where there are several.
        x: Measure across the landscape, as `analysis.landscape` takes.
        y: Measure upwards.
        metric: Column of the epochs; by default the validation metric.

    Raises:
        AnalysisError: There are no runs, or runs of several tasks; it says what is there.

    Cost: some ten seconds for 200 runs, most of it the tests of the claims.
    """
    path = Path(out)
    runs = load_runs(directory)
    if not len(runs):
        settings_of(directory)  # says what is there in place of runs
    path.write_text(page(runs, str(directory), task, x, y, metric), encoding="utf-8")
    return path


def page(
    runs: Runs, directory: str, task: str | None = None, x: str = COND, y: str = ENERGY,
    metric: str | None = None,
) -> str:  # fmt: skip
    """The page as text; what these runs cannot show is said in its place."""
    source = settings_of(runs, task=task)
    name = source.task or None
    found = attempted(lambda: analysis.landscape(source.runs, x=x, y=y, metric=metric, task=name))
    tested = attempted(lambda: analysis.claims(source.runs, metric=metric, task=name))
    title = source.task or "Runs"
    parts = [
        f"<header><h1>{safe(title)}: which batch size, which learning rate?</h1>"
        f"<p>{safe(source.describe())}</p></header>",
        sections.recommendation(attempted(lambda: analysis.select(source.runs, metric=metric, task=name))),
        sections.tiles(source, found, tested),
        *_shown(source, found),
        heading(
            "The paper's claims, tested on these runs",
            "A claim holds where all its figures do; docs/analysis.md.",
        ),
        sections.claims_table(tested),
        heading("Table 1", "The best fixed batch size against the best schedules."),
        sections.table_one(attempted(lambda: analysis.table(source.runs, metric=metric))),
        heading("How each number was made"),
        reproducibility.definitions(found),
        heading("How to make it again"),
        reproducibility.reproduction(source, directory),
    ]
    scripts = (*SCRIPTS, START) if not isinstance(found, str) else ()
    return document(f"{title} · fisherscope", f"<main>{''.join(parts)}</main>", scripts)


def _shown(source: Settings, found: Landscape | str) -> list[str]:
    """The charts and the tables of settings; or in words why there are none."""
    if isinstance(found, str):
        return [heading("The landscape"), f"<p>{safe(found)}</p>"]
    data: dict[str, Any] = chart_data(source, found)
    metrics = data["metrics"]
    script = "<noscript><p>The charts need JavaScript; the tables below have their numbers.</p></noscript>"
    return [
        heading("The landscape", reproducibility.axes_told(found)),
        f'<div class="card" id="plane"></div>{script}',
        heading("Against epochs", "Means over seeds. Marks, lines and rows are one setting: point at any."),
        '<div class="card" id="curves"></div>',
        heading(
            "By batch size and rate",
            f"Final {safe(metrics[0]['label'])}; bold: within the margin of the best.",
        ),
        sections.grid(found, metrics[0]["levels"]),
        heading("The settings"),
        sections.settings_table(found, metrics),
        f"<details><summary>the landscape in words</summary><pre>{safe(found)}</pre></details>",
        embedded(data, "data"),
    ]
