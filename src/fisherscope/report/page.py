"""One HTML page of a directory of runs: self-contained, opens offline."""

from __future__ import annotations

import html
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fisherscope
from fisherscope.analysis import AnalysisError, claims, landscape, select
from fisherscope.figures import curves_chart, landscape_chart
from fisherscope.runs.reading import Runs, load_runs

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --soft: #f2f4f7; --line: #d5dae1; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --paper: #14171b; --soft: #1e2329;
  --line: #39414b; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem;
  margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
pre { background: var(--soft); padding: 1rem; overflow-x: auto; white-space: pre-wrap; border-radius: 6px; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { border-bottom: 1px solid var(--line); padding: 0.25rem 0.7rem; text-align: right; }
td:first-child, th:first-child { text-align: left; }
.lead { font-size: 1.1rem; border-left: 4px solid #2a788e; background: var(--soft); padding: 0.8rem 1.2rem; }
@media print { .js-plotly-plot { break-inside: avoid; } }
"""
REDRAW = """
const dark = matchMedia("(prefers-color-scheme: dark)").matches, ink = dark ? "#e6e9ee" : "#1b1f24";
const grid = dark ? "#39414b" : "#d5dae1";
for (const chart of document.querySelectorAll(".js-plotly-plot")) Plotly.relayout(chart, {
  paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", "font.color": ink,
  "xaxis.gridcolor": grid, "yaxis.gridcolor": grid });
"""


def write_report(directory: str | os.PathLike[str], out: str | os.PathLike[str]) -> Path:
    """Write the page of the runs in `directory` to `out`.

    Raises:
        AnalysisError: There are no runs, or runs of several tasks; it says what is there.
    """
    path = Path(out)
    path.write_text(page(load_runs(directory), str(directory)), encoding="utf-8")
    return path


def page(runs: Runs, directory: str) -> str:
    """The page as text."""
    settled = landscape(runs)
    charts = [
        ("The landscape", lambda: landscape_chart(runs)),
        ("Error against epochs", lambda: curves_chart(runs, settled.metric)),
    ]
    parts = [
        f"<h1>{_safe(settled.task)}: which batch size, which learning rate?</h1>",
        f'<div class="lead">{_lines(_said(lambda: select(runs)))}</div>',
        *(_chart(title, make, place == 0) for place, (title, make) in enumerate(charts)),
        f"<h2>In words</h2><pre>{_safe(settled)}</pre>",
        f"<h2>The settings</h2>{_table(settled)}",
        f"<h2>The paper's claims, tested on these runs</h2><pre>{_safe(_said(lambda: claims(runs)))}</pre>",
        _how(directory, len(runs.paths)),
    ]
    body = "\n".join(parts)
    title = f"<title>{_safe(settled.task)} · fisherscope</title>"
    view = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f'<meta charset="utf-8">{view}{title}<style>{STYLE}</style>'
    whole = f"<head>{head}</head><body>{body}<script>{REDRAW}</script></body>"
    return f'<!doctype html><html lang="en">{whole}</html>'


def _chart(title: str, make: Callable[[], Any], first: bool) -> str:
    """A chart with the library before the first, or in words why there is none."""
    try:
        figure = make()
    except AnalysisError as error:
        return f"<h2>{_safe(title)}</h2><p>{_safe(error)}</p>"
    drawn = figure.to_html(
        full_html=False, include_plotlyjs=first, config={"displaylogo": False}, auto_play=False
    )
    return f"<h2>{_safe(title)}</h2>{drawn}"


def _said(ask: Callable[[], Any]) -> str:
    try:
        return str(ask())
    except AnalysisError as error:
        return f"{error}"


def _table(settled: Any) -> str:
    columns = {
        "setting": "setting", "seeds": "seeds", "x": settled.x, "y": settled.y, "metric": settled.metric,
        "metric_std": "± over seeds",
    }  # fmt: skip
    head = "".join(f"<th>{_safe(name)}</th>" for name in columns.values())
    rows = settled.points.sort("metric").select(list(columns)).rows()
    body = "".join(f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _how(directory: str, count: int) -> str:
    return (
        "<h2>How each number was made</h2>"
        f"<p>From the {count} runs in <code>{_safe(directory)}</code> by fisherscope "
        f"{fisherscope.__version__}. C̄ is the "
        "mean over steps of the condition number of the per-sample gradients (Gram matrix of each "
        "measured batch), L the "
        "sum of their energies (Liao et al. 2020); points are geometric means over seeds. The colours "
        "are the final "
        "metric; the surface is a prediction between the points, no measurement.</p>"
        "<p>To make it again:</p>"
        f"<pre>fisherscope select {_safe(directory)}\nfisherscope claims {_safe(directory)}\n"
        f"fisherscope report {_safe(directory)} -o report.html</pre>"
    )


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else _safe(value)


def _lines(text: str) -> str:
    return "".join(f"<p>{_safe(line)}</p>" for line in text.splitlines() if line.strip())


def _safe(value: object) -> str:
    return html.escape(str(value))
