"""Render the page of one run: what is wrong, where it stands, time lines, spectrum, spikes, provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from fisherscope.analysis.data.labels import metric_label, shown_scale
from fisherscope.diagnosis import Diagnosis
from fisherscope.diagnosis.diagnosis import diagnosis_of
from fisherscope.plain_text import one_line
from fisherscope.report import reproducibility
from fisherscope.report.html_document import document
from fisherscope.report.html_text import json_script, number
from fisherscope.report.run_data import run_data
from fisherscope.runs import queries
from fisherscope.runs.errors import DamagedRunError
from fisherscope.runs.reader import Runs

CHARTS = "vendor/uPlot.iife.min.js"
SCRIPTS = ("draw.js", CHARTS, "run.js")
STYLES = ("vendor/uPlot.min.css", "page.css")
START = 'startRun(JSON.parse(document.getElementById("data").textContent), document.getElementById("run"));'
FOLLOW = f"follow({START.removesuffix(';')});"
METRICS = ("val/error", "val/loss", "test/error", "train/error", "train/loss")
"""Metrics of the epochs, the first one recorded is shown at the top."""
LISTED = 3
"""Samples and layers that are listed of a spike."""
LAST_VALUES = {
    "train/loss": "loss of the measured batch",
    "batch_size": "batch size",
    "lr": "learning rate",
    "noise/scale_mean": "noise scale, mean over the run (samples)",
    "fisher/effective_rank": "effective rank of the batch's gradients",
    "gradient/norm": "norm of the gradient",
    "gradient/largest_share": "largest sample's share of the trace",
    "fisher/cond_mean": "C̄, mean condition number",
    "fisher/energy_sum": "L, summed energy",
    "fisher/residual": "self-check: relative error of the sum of the per-sample gradients",
    "fisher/grouping": "rows assigned to samples",
    "status": "status of the measurement",
}


def run_page(
    runs: Runs, run_id: str, directory: str, metric: str | None = None, *, live: bool = False
) -> str:
    """Render the page of one run; what was not recorded is left out.

    Args:
        runs: Loaded runs.
        run_id: A key of `runs.paths`.
        directory: Where the run is, as the page's command names it.
        metric: Column of the epochs that stands at the top; by default the validation error or loss.
        live: Whether the page asks its server for what is new.

    Returns:
        HTML.
    """
    state = run_state(runs, run_id, metric)
    return document(
        "run.html",
        f"{run_id} · fisherscope",
        (*SCRIPTS, "follow.js", FOLLOW) if live else (*SCRIPTS, START),
        fetches=live,
        styles=STYLES,
        live=live,
        name=run_id,
        data=json_script(state.pop("charts_data"), "data"),
        spikes=_spikes(runs, run_id),
        last_values=_last_values(runs.filter(pl.col("run_id") == run_id).steps.to_dicts()),
        **state,
        **reproducibility.reproduction([runs.head(run_id)], directory),
    )


def run_state(runs: Runs, run_id: str, metric: str | None = None) -> dict[str, Any]:
    """Collect what changes on the page while the run goes on.

    Args:
        runs: Loaded runs.
        run_id: A key of `runs.paths`.
        metric: As in `run_page`.

    Returns:
        `summary, verdict, findings, tiles, charts_data`, plain data.
    """
    one = runs.filter(pl.col("run_id") == run_id)
    row, steps, epochs = one.runs.row(0, named=True), one.steps.to_dicts(), one.epochs.to_dicts()
    diagnosis = diagnosis_of(one, run_id)  # of the rows that were read once
    return {
        "summary": _summary(row, steps, epochs),
        "verdict": _verdict(diagnosis),
        "findings": diagnosis.to_dict()["findings"],
        "tiles": _tiles(row, steps, epochs, metric),
        "charts_data": run_data(one, run_id),
    }


def _summary(row: Mapping[str, Any], steps: Sequence[Mapping[str, Any]], epochs: Sequence[Any]) -> str:
    parts = [str(row.get("task") or ""), str(row["status"])]
    reached = f"{len(epochs)} epoch{'' if len(epochs) == 1 else 's'}"
    planned = row.get("epochs")
    parts.append(f"{len(epochs)} of {planned} epochs" if planned and planned != len(epochs) else reached)
    parts.append(f"{len(steps)} measured step{'' if len(steps) == 1 else 's'}")
    return ", ".join(part for part in parts if part)


def _verdict(diagnosis: Diagnosis) -> str:
    if not diagnosis.findings:
        return "Nothing is wrong that the run's rows show."
    return str(diagnosis).splitlines()[0].partition("): ")[2] + " found"


def _tiles(
    row: Mapping[str, Any], steps: Sequence[Mapping[str, Any]], epochs: Sequence[Mapping[str, Any]],
    metric: str | None,
) -> list[tuple[str, str]]:  # fmt: skip
    """Return the figures at the top: the metric, batch size and rate, noise scale, cost."""
    tiles = []
    names = [metric] if metric else METRICS
    known = next(((n, epochs) for n in names if any(e.get(n) is not None for e in epochs)), None)
    if known is not None:
        name, rows = known
        values = [e for e in rows if e.get(name) is not None]
        tiles.append((number(values[-1][name] * shown_scale(name), 3), f"{metric_label(name)}, last epoch"))
    sizes = [s["batch_size"] for s in steps if s.get("batch_size")]
    if sizes:
        span = f"{min(sizes)} to {max(sizes)}" if min(sizes) != max(sizes) else f"{sizes[0]}"
        tiles.append((span, "batch size"))
    elif row.get("batch_size"):
        tiles.append((str(row["batch_size"]), "batch size"))
    rates = [s["lr"] for s in steps if s.get("lr") is not None]
    if rates:
        span = f"{min(rates):.3g} to {max(rates):.3g}" if min(rates) != max(rates) else f"{rates[0]:.3g}"
        tiles.append((span, "learning rate"))
    scale = next((s["noise/scale_mean"] for s in reversed(steps) if s.get("noise/scale_mean")), None)
    if scale is not None:
        tiles.append((number(scale, 3), "noise scale (samples), mean over the run"))
    spent = [(e.get("time/fisher_s"), e.get("time/train_s")) for e in epochs]
    total = sum(train for fisher, train in spent if fisher is not None and train)
    if total:
        share = sum(fisher for fisher, train in spent if fisher is not None and train) / total
        tiles.append((f"{share:.1%}", "of the training time spent measuring"))
    return tiles


def _spikes(runs: Runs, run_id: str) -> list[list[str]]:
    """Return a row a spike: its step, norms, and the samples and layers behind it."""
    path = runs.paths[run_id]
    try:
        found = queries.spikes(path) if path.is_dir() else []
    except DamagedRunError:
        return []  # the diagnosis says so
    return [
        [
            str(row.get("step")), number(row.get("norm"), 3), number(row.get("usual_norm"), 3),
            _causes(row.get("blamed_samples"), "sample"), _causes(row.get("layers"), "parameter"),
        ]
        for row in found
    ]  # fmt: skip


def _causes(parts: Any, name: str) -> str:
    texts = []
    for part in (parts if isinstance(parts, list) else [])[:LISTED]:
        if isinstance(part, dict):
            share = part.get("explained")
            percent = f" ({share:.0%})" if isinstance(share, int | float) else ""
            texts.append(one_line(f"{part.get(name)}{percent}"))
    return ", ".join(texts) or "–"


def _last_values(steps: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    rows = []
    for name, text in LAST_VALUES.items():
        last = next((row for row in reversed(steps) if row.get(name) is not None), None)
        if last is not None:
            rows.append([text, number(last[name]), str(last.get("step", "–"))])
    return rows
