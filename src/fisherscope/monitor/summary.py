"""Where a run stands, in sentences, and what should worry its owner. Nothing here measures."""

import math
from collections.abc import Sequence
from html import escape
from statistics import median

from fisherscope.html_repr import sketch
from fisherscope.monitor.measurement import Row
from fisherscope.monitor.running_totals import RunningTotals

RECENT_ROWS = 10
"""Measured steps that "now" is made of: enough for a noise scale, few enough to be now."""
TOO_LARGE = 3.0
"""A batch above so many noise scales gains little from its size (McCandlish et al. 2018, figure 1)."""
DOMINANT_SAMPLE = 0.2
"""Share of the trace above which one sample drives the step."""
MANY_ZEROS = 0.1
"""Share of samples without gradient that is worth a word."""
CENSORED = 0.1
"""Share of C̄ from censored measurements above which it says more of rounding than of training."""


def alerts(rows: Sequence[Row], account: RunningTotals) -> list[str]:
    """What is wrong or wasted now, a sentence each; empty when all is well."""
    recent = [row for row in rows[-RECENT_ROWS:] if row["fisher/trace"] is not None]
    found = [_failed(rows[-RECENT_ROWS:])]
    if recent:
        found += [_batch(recent), _rank(recent), _sample(recent), _zeros(recent), _censored(account)]
    return [text for text in found if text]


def _failed(recent: Sequence[Row]) -> str:
    failed = [row for row in recent if row["fisher/trace"] is None]
    if not failed:
        return ""
    if any("non-finite" in row["status"] or "NaN" in row["status"] for row in failed):
        return (
            f"Gradients are NaN or infinite (step {failed[-1]['step']}): training has diverged or overflowed."
        )
    return (
        f"{len(failed)} of the last {len(recent)} measurements could not be believed; the latest, step "
        f"{failed[-1]['step']}: {failed[-1]['status']}"
    )


def _batch(recent: Sequence[Row]) -> str:
    scale, size = recent_noise_scale(recent), recent[-1]["batch_size"]
    if scale is None or size <= TOO_LARGE * scale:
        return ""
    return (
        f"The batch of {size} is {size / scale:.1f} times the noise scale ({scale:.0f} samples): a smaller "
        "one would make nearly the same progress a step."
    )


def _rank(recent: Sequence[Row]) -> str:
    lost = [row for row in recent if _missing_rank(row) > 0]
    if not lost:
        return ""
    return (
        f"The gradients have lost rank in {len(lost)} of the last {len(recent)} measurements (latest: "
        f"{lost[-1]['fisher/rank']} of {_samples(lost[-1])}): samples repeat, or differ by less than "
        "rounding shows."
    )


def _sample(recent: Sequence[Row]) -> str:
    worst = max(recent, key=lambda row: row["gradient/largest_share"] or 0.0)
    share, size = worst["gradient/largest_share"] or 0.0, worst["batch_size"]
    if share <= DOMINANT_SAMPLE or share <= 3 / size:  # among a few samples one in five is nothing
        return ""
    return (
        f"One sample holds {share:.0%} of the trace at step {worst['step']}: a mislabelled one, or a loss "
        "that wants clipping (give observe(ids=…) to see which)."
    )


def _zeros(recent: Sequence[Row]) -> str:
    share = median(row["gradient/zero_share"] for row in recent)
    if share <= MANY_ZEROS:
        return ""
    return f"{share:.0%} of the samples have no gradient at all: part of each batch is spent for nothing."


def _censored(account: RunningTotals) -> str:
    share = account.cond.censored_share
    if not share > CENSORED:
        return ""
    return (
        f"{share:.0%} of C̄ comes from censored measurements, whose smallest singular value lies at the "
        "rounding floor: precision='float64' sees further, a rule such as 'relative' does not depend on it."
    )


def recent_noise_scale(recent: Sequence[Row]) -> float | None:
    """Ratio of the means of numerator and denominator over these rows; None where that is not positive."""
    parts = [(row["noise/variance"], row["noise/signal"]) for row in recent]
    seen = [(variance, signal) for variance, signal in parts if variance is not None and signal is not None]
    signal = sum(signal for _, signal in seen)
    return sum(variance for variance, _ in seen) / signal if signal > 0 else None


def _samples(row: Row) -> int:
    size: int = row["batch_size"]
    return min(size, int(row.get("fisher/subset") or size))


def _missing_rank(row: Row) -> int:
    if row["fisher/rank"] is None:
        return 0
    seen = _samples(row) * (1 - float(row["gradient/zero_share"]))
    return round(seen) - int(row["fisher/rank"])


def summary(rows: Sequence[Row], account: RunningTotals, notes: Sequence[str], rule: str) -> str:
    """The run in sentences: where it stands, the batch against its noise, rank, layers, cost, self-check."""
    count = account.counters
    if not rows:
        return f"{count.steps} steps, none measured yet."
    recent = [row for row in rows[-RECENT_ROWS:] if row["fisher/trace"] is not None]
    lines = [
        f"{count.steps} steps ({rows[-1]['epoch']:.2f} epochs, {count.samples} samples), {count.measured} "
        + (f"measured, {count.failed} measurements failed." if count.failed else "measured.")
    ]
    if recent:
        lines += [_stand(account, rule), _noise(recent), _ranks(recent), _layers(account)]
    lines += [_cost(rows, account), _check(rows)]
    lines += [f"Note: {note}" for note in notes]
    lines += [f"ALERT: {text}" for text in alerts(rows, account)]
    return "\n".join(line for line in lines if line)


def _stand(account: RunningTotals, rule: str) -> str:
    totals = account.totals()
    if totals["fisher/cond_mean"] is None:
        return f"No condition number yet; L = {totals['fisher/energy_sum']:.4g}."
    return (
        f"C̄ = {totals['fisher/cond_mean']:.4g} (geometric {totals['fisher/cond_geomean']:.4g}, median "
        f"{totals['fisher/cond_median']:.4g}; rule {rule}), L = {totals['fisher/energy_sum']:.4g}."
    )


def _noise(recent: Sequence[Row]) -> str:
    scale, size = recent_noise_scale(recent), recent[-1]["batch_size"]
    if scale is None:
        return f"The batch of {size} is too small to see the gradient through its noise."
    return (
        f"Noise scale {scale:.0f} samples against a batch of {size}: the batch gradient's signal-to-noise "
        f"ratio is {size / scale:.2g}."
    )


def _ranks(recent: Sequence[Row]) -> str:
    row = next((row for row in reversed(recent) if row["fisher/rank"] is not None), None)
    if row is None:
        return ""
    effective = row["fisher/effective_rank"]
    return f"Rank {row['fisher/rank']} of {_samples(row)}" + (
        f", effective rank {effective:.1f}." if effective is not None else "."
    )


def _layers(account: RunningTotals) -> str:
    rows = [row for row in account.layers.rows() if row["trace_share"] is not None]
    if not rows:
        return ""
    top = max(rows, key=lambda row: row["trace_share"])
    return (
        f"{top['parameter']} dominates with {top['trace_share']:.0%} of the trace ({len(rows)} parameters)."
    )


def _cost(rows: Sequence[Row], account: RunningTotals) -> str:
    step, count = rows[-1]["time/step_s"], account.counters
    if not step:
        return ""
    share = count.fisher_seconds / (count.fisher_seconds + step * count.steps)
    return (
        f"Measuring took {share:.1%} of the time ({count.fisher_seconds:.2f} s; a plain step takes "
        f"{step * 1e3:.1f} ms)."
    )


def _check(rows: Sequence[Row]) -> str:
    residuals = [row["fisher/residual"] for row in rows if row["fisher/residual"] is not None]
    if not residuals:
        return ""
    worst = max(residuals)
    return (
        f"Self-check: per-sample gradients add up to the gradient within {worst:.1e} of it (worst parameter "
        f"of {len(rows)} measurements)."
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


def html(rows: Sequence[Row], account: RunningTotals) -> str:
    """A small table of the latest row, beside it how loss, C̄ and noise scale went, and below the alerts."""
    latest = rows[-1] if rows else {"step": account.counters.steps, "status": "nothing measured yet"}
    cells = "".join(
        f"<tr><th style='text-align:left'>{escape(key)}</th><td>{escape(_short(latest[key]))}</td></tr>"
        for key in HTML_KEYS
        if key in latest
    )
    warnings = "".join(f"<li>{escape(text)}</li>" for text in alerts(rows, account))
    drawn = [
        f"<td style='vertical-align:top'>{sketch(*_course(rows, key), title)}</td>"
        for key, title in HTML_COURSES.items()
    ]
    table = f"<table><tr><td><table>{cells}</table></td>{''.join(drawn)}</tr></table>"
    return table + (f"<ul>{warnings}</ul>" if warnings else "")


HTML_COURSES = {"train/loss": "loss", "fisher/cond_mean": "C̄", "noise/scale_mean": "noise scale"}


def _course(rows: Sequence[Row], key: str) -> tuple[list[float], list[float]]:
    """Steps and values of the rows that have one."""
    seen = [(float(row["step"]), row[key]) for row in rows if row.get(key) is not None]
    return [step for step, _ in seen], [float(value) for _, value in seen]


def _short(value: object) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
