"""Find what is wrong or wasted in the last measured steps: the monitor's alerts, and a part of `diagnose`."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from fisherscope.diagnosis.finding import Finding

Row = Mapping[str, Any]
RECENT_ROWS = 10
"""Latest measured steps that are looked at: enough for a noise scale, yet recent."""
TOO_LARGE = 3.0
"""Noise scales above which a larger batch gains little (McCandlish et al. 2018, figure 1)."""
DOMINANT_SAMPLE = 0.2
"""Share of the trace above which one sample dominates the step."""
MANY_ZEROS = 0.1
"""Share of samples without gradient above which there is a finding."""
CENSORED = 0.1
"""Share of C̄ from censored measurements above which C̄ is dominated by rounding."""


def step_findings(rows: Sequence[Row]) -> list[Finding]:
    """List what is wrong or wasted at present.

    Args:
        rows: Measured steps of the run, in order; the last `RECENT_ROWS` are looked at.

    Returns:
        Findings; none if all is well.
    """
    latest = rows[-RECENT_ROWS:]
    recent = [row for row in latest if row.get("fisher/trace") is not None]
    findings = [_failures(latest), *(check(recent) for check in _CHECKS if recent)]
    return [finding for finding in findings if finding]


def _failures(latest: Sequence[Row]) -> Finding | None:
    failed = [row for row in latest if row.get("fisher/trace") is None and _status(row)]
    if not failed:
        return None
    nonfinite = [row for row in failed if "non-finite" in _status(row) or "NaN" in _status(row)]
    if nonfinite:
        step, status = nonfinite[-1].get("step"), _status(nonfinite[-1]).removeprefix("non-finite: ")
        return Finding(
            "non-finite-gradients", "error",
            f"Gradients are NaN or infinite (step {step}: {status}): training has diverged or overflowed.",
            "Lower the learning rate, or clip the gradient.",
            {"step": step, "status": _status(nonfinite[-1])},
        )  # fmt: skip
    return Finding(
        "failed-measurements", "error" if len(failed) == len(latest) else "warning",
        f"{len(failed)} of the last {len(latest)} measurements failed or did not pass their self-check; "
        f"the latest, step {failed[-1].get('step')}: {_status(failed[-1])}.",
        "fisherscope doctor names the call that can't be measured, and its remedy.",
        {"failed": len(failed), "of": len(latest), "step": failed[-1].get("step"),
         "status": _status(failed[-1])},
    )  # fmt: skip


def _status(row: Row) -> str:
    return str(row.get("status") or "")


def _batch(recent: Sequence[Row]) -> Finding | None:
    scale, size = recent_noise_scale(recent), recent[-1].get("batch_size")
    if scale is None or not size or size <= TOO_LARGE * scale:
        return None
    return Finding(
        "batch-too-large", "hint",
        f"The batch of {size} is {size / scale:.1f} times the noise scale ({scale:.0f} samples).",
        "A smaller batch would make nearly the same progress per step.",
        {"batch_size": size, "noise_scale": scale},
    )  # fmt: skip


def _rank(recent: Sequence[Row]) -> Finding | None:
    deficient = [row for row in recent if _missing_rank(row) > 0]
    if not deficient:
        return None
    row = deficient[-1]
    return Finding(
        "lost-rank", "warning",
        f"The gradients have lost rank in {len(deficient)} of the last {len(recent)} measurements (latest: "
        f"{row['fisher/rank']} of {measured_samples(row)}).",
        "Samples repeat, or differ by less than rounding error: look for duplicates in the batches.",
        {"measurements": len(deficient), "of": len(recent), "rank": row["fisher/rank"]},
    )  # fmt: skip


def _missing_rank(row: Row) -> int:
    if row.get("fisher/rank") is None:
        return 0
    nonzero = measured_samples(row) * (1 - float(row.get("gradient/zero_share") or 0.0))
    return round(nonzero) - int(row["fisher/rank"])


def _sample(recent: Sequence[Row]) -> Finding | None:
    worst = max(recent, key=lambda row: row.get("gradient/largest_share") or 0.0)
    share, size = worst.get("gradient/largest_share") or 0.0, worst.get("batch_size") or 1
    if share <= DOMINANT_SAMPLE or share <= 3 / size:  # among a few samples one in five is nothing
        return None
    return Finding(
        "dominant-sample", "warning",
        f"One sample holds {share:.0%} of the trace at step {worst.get('step')}: it may be mislabelled, or "
        "the loss may need clipping.",
        "Pass observe(ids=…) to see which sample it is.",
        {"step": worst.get("step"), "share": share, "batch_size": size},
    )  # fmt: skip


def _zeros(recent: Sequence[Row]) -> Finding | None:
    share = median(row.get("gradient/zero_share") or 0.0 for row in recent)
    if share <= MANY_ZEROS:
        return None
    return Finding(
        "samples-without-gradient", "hint",
        f"{share:.0%} of the samples have no gradient at all: they do not contribute to the update.",
        evidence={"share": share},
    )  # fmt: skip


def _rounding(recent: Sequence[Row]) -> Finding | None:
    share = recent[-1].get("fisher/censored_share")
    if share is None or not share > CENSORED:
        return None
    return Finding(
        "censored", "hint",
        f"{share:.0%} of C̄ comes from censored measurements, whose smallest singular value lies at the "
        "rounding floor.",
        "precision='float64' lowers that floor; a rule such as 'relative' does not depend on it.",
        {"censored_share": share},
    )  # fmt: skip


_CHECKS: tuple[Callable[[Sequence[Row]], Finding | None], ...] = (_batch, _rank, _sample, _zeros, _rounding)


def recent_noise_scale(recent: Sequence[Row]) -> float | None:
    """Compute the noise scale over some rows, as a ratio of means.

    Args:
        recent: Rows of measured steps.

    Returns:
        Samples; None where the mean signal is not positive.
    """
    parts = [(row.get("noise/variance"), row.get("noise/signal")) for row in recent]
    pairs = [(variance, signal) for variance, signal in parts if variance is not None and signal is not None]
    signal = sum(signal for _, signal in pairs)
    return sum(variance for variance, _ in pairs) / signal if signal > 0 else None


def measured_samples(row: Row) -> int:
    """Return the number of samples whose gradients a row's Gram holds.

    Args:
        row: A measured step.

    Returns:
        The batch size, or that of the measured subset.
    """
    size = int(row.get("batch_size") or 0)
    return min(size, int(row.get("fisher/subset") or size))
