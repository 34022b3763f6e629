"""Text and HTML of a monitored run: where it stands, and alerts. Nothing here measures."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from fisherscope.diagnosis.step_findings import (
    RECENT_ROWS,
    measured_samples,
    recent_noise_scale,
    step_findings,
)
from fisherscope.html_repr import sketch
from fisherscope.monitor.measurement import Row
from fisherscope.monitor.running_totals import RunningTotals


def alerts(rows: Sequence[Row]) -> list[str]:
    """List what is wrong or wasted at present.

    Args:
        rows: Measured steps of the run; the last ones are looked at (`diagnosis/step_findings.py`).

    Returns:
        A text for each finding; empty if there is none.
    """
    return [finding.sentence for finding in step_findings(rows)]


def summary(
    rows: Sequence[Row], running: RunningTotals, notes: Sequence[str], settings: Mapping[str, Any]
) -> str:
    """Summarise a run: progress, C̄ and L, noise scale, rank, cost, notes and alerts.

    Args:
        rows: Measured steps of the run.
        running: Running totals of the run.
        notes: Sentences on how the run is measured.
        settings: How the run is measured; `dataset_size` and `rule` are read.

    Returns:
        Lines of text.
    """
    count = running.counters
    if not rows:
        return f"{count.steps} steps, none measured yet."
    recent = [row for row in rows[-RECENT_ROWS:] if row["fisher/trace"] is not None]
    epochs = running.epoch(settings["dataset_size"])
    lines = [
        f"{count.steps} steps ({epochs:.2f} epochs, {count.samples} samples), {count.measured} "
        + (f"measured, {count.failed} measurements failed." if count.failed else "measured.")
    ]
    if recent:
        lines += [_measures(running, settings["rule"]), _noise(recent), _ranks(recent), _layers(running)]
    lines += [_cost(rows, running), _check(rows)]
    lines += [f"Note: {note}" for note in notes]
    lines += [f"ALERT: {text}" for text in alerts(rows)]
    return "\n".join(line for line in lines if line)


def _measures(running: RunningTotals, rule: str) -> str:
    totals = running.totals()
    if totals["fisher/cond_mean"] is None:
        return f"No condition number yet; L = {totals['fisher/energy_sum']:.4g}."
    return (
        f"C̄ = {totals['fisher/cond_mean']:.4g} (geometric {totals['fisher/cond_geomean']:.4g}, median "
        f"{totals['fisher/cond_median']:.4g}; rule {rule}), L = {totals['fisher/energy_sum']:.4g}."
    )


def _noise(recent: Sequence[Row]) -> str:
    scale, size = recent_noise_scale(recent), recent[-1]["batch_size"]
    if scale is None:
        return f"At batch size {size} the gradient is mostly noise; the noise scale can't be estimated yet."
    return (
        f"The noise scale is {scale:.0f} samples and the batch has {size}: the signal-to-noise ratio of the "
        f"batch gradient is {size / scale:.2g}."
    )


def _ranks(recent: Sequence[Row]) -> str:
    row = next((row for row in reversed(recent) if row["fisher/rank"] is not None), None)
    if row is None:
        return ""
    effective = row["fisher/effective_rank"]
    return f"Rank {row['fisher/rank']} of {measured_samples(row)}" + (
        f", effective rank {effective:.1f}." if effective is not None else "."
    )


def _layers(running: RunningTotals) -> str:
    rows = [row for row in running.layers.rows() if row["trace_share"] is not None]
    if not rows:
        return ""
    top = max(rows, key=lambda row: row["trace_share"])
    return (
        f"{top['parameter']} dominates with {top['trace_share']:.0%} of the trace ({len(rows)} parameters)."
    )


def _cost(rows: Sequence[Row], running: RunningTotals) -> str:
    step, count = rows[-1]["time/step_s"], running.counters
    if not step:
        return ""
    share = count.fisher_seconds / (count.fisher_seconds + step * count.steps)
    return (
        f"Measuring took {share:.1%} of the time ({count.fisher_seconds:.2f} s; an unmeasured step takes "
        f"{step * 1e3:.1f} ms)."
    )


def _check(rows: Sequence[Row]) -> str:
    residuals = [row["fisher/residual"] for row in rows if row["fisher/residual"] is not None]
    if not residuals:
        return ""
    worst = max(residuals)
    return (
        f"Self-check: the per-sample gradients add up to the gradient, relative error at most {worst:.1e} "
        f"(worst parameter in {len(rows)} measurements)."
    )


HTML_KEYS = (
    "step",
    "batch_size",
    "lr",
    "fisher/cond_mean",
    "fisher/energy_sum",
    "noise/scale_mean",
    "status",
)


def html(rows: Sequence[Row], running: RunningTotals) -> str:
    """Render a table of the latest row, curves of loss, C̄ and noise scale, and the alerts.

    Args:
        rows: Measured steps of the run.
        running: Running totals of the run.

    Returns:
        HTML without scripts, for a notebook.
    """
    latest = rows[-1] if rows else {"step": running.counters.steps, "status": "nothing measured yet"}
    cells = "".join(
        f"<tr><th style='text-align:left'>{escape(key)}</th><td>{escape(_short(latest[key]))}</td></tr>"
        for key in HTML_KEYS
        if key in latest
    )
    warnings = "".join(f"<li>{escape(text)}</li>" for text in alerts(rows))
    curves = [
        f"<td style='vertical-align:top'>{sketch(*_curve(rows, key), title)}</td>"
        for key, title in HTML_CURVES.items()
    ]
    table = f"<table><tr><td><table>{cells}</table></td>{''.join(curves)}</tr></table>"
    return table + (f"<ul>{warnings}</ul>" if warnings else "")


HTML_CURVES = {"train/loss": "loss", "fisher/cond_mean": "C̄", "noise/scale_mean": "noise scale"}


def _curve(rows: Sequence[Row], key: str) -> tuple[list[float], list[float]]:
    """Select steps and values of the rows that have a value."""
    points = [(float(row["step"]), row[key]) for row in rows if row.get(key) is not None]
    return [step for step, _ in points], [float(value) for _, value in points]


def _short(value: object) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
