"""Write one HTML page about a directory of runs: recommendation, landscape, curves, claims, provenance."""

from __future__ import annotations

import os
from pathlib import Path

from fisherscope import analysis
from fisherscope.analysis import settings_of
from fisherscope.analysis.data.run_measures import COND, ENERGY
from fisherscope.plain_text import printable
from fisherscope.report import reproducibility, sections
from fisherscope.report.chart_data import chart_data
from fisherscope.report.html_document import document
from fisherscope.report.html_text import json_script
from fisherscope.report.run_data import run_data
from fisherscope.report.run_page import CHARTS as RUN_SCRIPT
from fisherscope.report.run_page import STYLES, run_page
from fisherscope.report.sections import result_or_reason
from fisherscope.runs.atomic_io import replace_text
from fisherscope.runs.reader import Runs, load_runs

SCRIPTS = ("draw.js", "plane.js", "curves.js")
FEWEST = 4
"""Settings from which a page has the plane, the claims and Table 1; below them it has each run's charts."""
SHOWN_RUNS = 12
"""Runs whose charts are on a page of fewer settings."""
_CHARTS_OF_RUNS = 'JSON.parse(document.getElementById("run-charts").textContent)'
START_RUNS = f'startRuns({_CHARTS_OF_RUNS}, document.getElementById("run"));'
START = 'start(JSON.parse(document.getElementById("data").textContent));'


def write_report(
    directory: str | os.PathLike[str], out: str | os.PathLike[str] = "report.html", *,
    task: str | None = None, x: str = COND, y: str = ENERGY, metric: str | None = None,
) -> Path:  # fmt: skip
    """Write a page about the runs of a directory; of a single run, the page of that run.

    Args:
        directory: Directory that holds the runs, at any depth, or an exported file.
        out: File to write.
        task: Task to report on, if the directory holds runs of several.
        x: Measure on the horizontal axis of the landscape, any that `analysis.landscape` takes.
        y: Measure on the vertical axis.
        metric: Column of the epochs that decides; by default the validation metric.

    Returns:
        The path of the file.

    Raises:
        AnalysisError: The directory holds no runs, or runs of several tasks; the error lists them.
        RunError: The disk is full or read-only; an older page is still there, whole.

    Cost: some ten seconds for 200 runs, most of it the tests of the claims.

    Example:
        ```python
        import fisherscope as fs
        from fisherscope.report import write_report

        with fs.open_run("runs/one", {"task": "mine", "batch_size": 8, "lr": 0.1, "seed": 0}) as run:
            run.log_epoch(epoch=1, val_error=0.25)
        write_report("runs", "report.html")
        ```
    """
    path = Path(out)
    runs = load_runs(directory)
    if not len(runs):
        settings_of(directory)  # its error lists what is there in place of runs
    replace_text(path, printable(page(runs, str(directory), task, x, y, metric)))
    return path


def page(
    runs: Runs, directory: str, task: str | None = None, x: str = COND, y: str = ENERGY,
    metric: str | None = None,
) -> str:  # fmt: skip
    """Render the page; what these runs cannot show is explained in its place.

    Args:
        runs: Runs of the page.
        directory: Where they are, as the page's commands name it.
        task: As in `write_report`; so are the others.
        x: Measure on the horizontal axis.
        y: Measure on the vertical axis.
        metric: Column of the epochs that decides.

    Returns:
        HTML.
    """
    if len(runs) == 1:
        return run_page(runs, next(iter(runs.paths)), directory, metric)
    source = settings_of(runs, task=task)
    name = source.task or None
    landscape = result_or_reason(lambda: analysis.landscape(source.runs, x=x, y=y, metric=metric, task=name))
    claims = result_or_reason(lambda: analysis.claims(source.runs, metric=metric, task=name))
    drawn = not isinstance(landscape, str)
    title = source.task or "Runs"
    few = source.frame["setting"].n_unique() < FEWEST
    shown = list(source.frame["run_id"])[:SHOWN_RUNS] if few else []
    charts = {run_id: run_data(runs, run_id) for run_id in shown}
    charts = {run_id: data for run_id, data in charts.items() if data["charts"]}
    return document(
        "report.html",
        f"{title} · fisherscope",
        (*SCRIPTS, *((START,) if drawn else ()), *((RUN_SCRIPT, "run.js", START_RUNS) if charts else ())),
        styles=STYLES if charts else ("page.css",),
        few=few,
        fewest=FEWEST,
        run_charts=json_script(charts, "run-charts") if charts else "",
        task=title,
        summary=source.describe(),
        recommendation=sections.recommendation(
            result_or_reason(lambda: analysis.select(source.runs, metric=metric, task=name))
        ),
        tiles=sections.tiles(source, landscape, "too few settings" if few else claims),
        landscape=sections.landscape_section(landscape, chart_data(source, landscape) if drawn else {}),
        claim_rows=sections.claim_rows(claims),
        claim_details=[] if isinstance(claims, str) else [str(claim) for claim in claims.claims],
        table_one=sections.table_one(result_or_reason(lambda: analysis.table(source.runs, metric=metric))),
        definitions=reproducibility.definitions(landscape),
        **reproducibility.reproduction(
            [source.runs.head(run_id) for run_id in source.frame["run_id"]],
            directory,
            ("select", "claims", "table", "report"),
        ),
    )
