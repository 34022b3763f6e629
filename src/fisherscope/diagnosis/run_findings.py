"""Find what is wrong or wasted in a recorded run: how it ended, its metric, its measurements, its cost."""

from collections.abc import Mapping, Sequence
from typing import Any

from fisherscope.diagnosis.finding import SEVERITIES, Finding
from fisherscope.diagnosis.step_findings import RECENT_ROWS, recent_noise_scale, step_findings
from fisherscope.runs.dead_network import dead_reason

Row = Mapping[str, Any]
OVERFITTED, SINCE = 1.05, 2
"""Held-out loss over its best, and epochs since the best, from which a run has overfitted."""
MEASURING = 0.05
"""Share of the training time from which measuring is too much."""
TOO_SMALL = 1 / 8
"""Batch size over noise scale below which steps are nearly independent (McCandlish et al. 2018: steps
to a loss go as 1 + B_noise/B, so doubling such a batch saves at least 44 % of the steps)."""


def run_findings(
    head: Mapping[str, Any], steps: Sequence[Row], epochs: Sequence[Row], spikes: Sequence[Row] = ()
) -> list[Finding]:
    """List what is wrong or wasted in a run, worst first.

    Args:
        head: Its run.json: `status` and `reason` are read.
        steps: Rows of its measured steps, in order.
        epochs: Rows of its epochs, in order.
        spikes: Rows of its spikes.

    Returns:
        Findings; none if all is well.
    """
    findings = [
        _ending(head), _dead(epochs), _measurements(head, steps), *step_findings(steps), _grouping(steps),
        _note(steps), _spikes(spikes), _overfitting(epochs), _small_batch(steps), _cost(epochs),
    ]  # fmt: skip
    present = [finding for finding in findings if finding]
    return sorted(present, key=lambda finding: SEVERITIES.index(finding.severity))


def _ending(head: Mapping[str, Any]) -> Finding | None:
    status, reason = head.get("status"), str(head.get("reason") or "")
    evidence = {"status": status, "reason": reason}
    because = f": {reason.rstrip('.')}" if reason else ""
    if status == "diverged":
        text, remedy = f"The run diverged{because}.", "Lower the learning rate, or warm it up."
        return Finding("diverged", "error", text, remedy, evidence)
    if status == "failed":
        return Finding(
            "failed", "error", f"The run failed{because}.", "Fix the error and resume it.", evidence
        )
    if status == "interrupted":
        text = f"The run was interrupted{because}."
        return Finding("interrupted", "warning", text, "The command that began it resumes it.", evidence)
    return None


def _dead(epochs: Sequence[Row]) -> Finding | None:
    reason = dead_reason(epochs)
    if not reason:
        return None
    text = f"The network has died: {reason.rstrip('.')}."
    return Finding("dead-network", "error", text, "Lower the learning rate, or change the initialisation.")


def _measurements(head: Mapping[str, Any], steps: Sequence[Row]) -> Finding | None:
    if steps or (head.get("config") or {}).get("measure") is False:
        return None
    return Finding(
        "nothing-measured", "warning", "No step of this run was measured.",
        "Wrap forward and backward of each step in monitor.observe(), or lower `every`.",
    )  # fmt: skip


def _grouping(steps: Sequence[Row]) -> Finding | None:
    measured = [row for row in steps if row.get("fisher/trace") is not None]
    unknown = [row for row in measured if row.get("fisher/grouping") in (None, "unverified")]
    if not unknown:
        return None
    return Finding(
        "unverified-rows", "warning",
        f"{len(unknown)} of {len(measured)} measurements do not say that their rows were assigned to samples "
        "by a check.",
        "Versions before 0.2 did not check it: measure again, or run fisherscope doctor on the model.",
        {"unverified": len(unknown), "of": len(measured)},
    )  # fmt: skip


def _note(steps: Sequence[Row]) -> Finding | None:
    noted = [row for row in steps if row.get("fisher/note")]
    if not noted:
        return None
    step, note = noted[-1].get("step"), str(noted[-1]["fisher/note"])
    return Finding("noted", "warning", f"Step {step}: {note}", evidence={"step": step, "steps": len(noted)})


def _spikes(spikes: Sequence[Row]) -> Finding | None:
    if not spikes:
        return None
    steps = [row.get("step") for row in spikes]
    listed = ", ".join(str(step) for step in steps[:3]) + (", …" if len(steps) > 3 else "")
    return Finding(
        "spikes", "warning", f"The gradient left its band at {len(steps)} steps ({listed}).",
        "fisherscope spikes names the samples and layers behind each.", {"steps": steps},
    )  # fmt: skip


def _overfitting(epochs: Sequence[Row]) -> Finding | None:
    losses = [(row.get("epoch"), row["val/loss"]) for row in epochs if row.get("val/loss") is not None]
    if len(losses) <= SINCE:
        return None
    last_epoch, last = losses[-1]
    best_epoch, best = min(losses, key=lambda pair: pair[1])
    if best <= 0 or last < OVERFITTED * best or losses.index((best_epoch, best)) >= len(losses) - SINCE:
        return None
    return Finding(
        "overfitting", "warning",
        f"The validation loss was lowest at epoch {best_epoch} ({best:.4g}) and has risen to {last:.4g} at "
        f"epoch {last_epoch}.",
        "Stop earlier, decay the learning rate earlier, or regularise more.",
        {"best_epoch": best_epoch, "best": best, "last_epoch": last_epoch, "last": last},
    )  # fmt: skip


def _small_batch(steps: Sequence[Row]) -> Finding | None:
    recent = [row for row in steps[-RECENT_ROWS:] if row.get("fisher/trace") is not None]
    scale = recent_noise_scale(recent) if len(recent) == RECENT_ROWS else None
    size = recent[-1].get("batch_size") if recent else None
    if scale is None or not size or size >= TOO_SMALL * scale:
        return None
    return Finding(
        "batch-too-small", "hint",
        f"The noise scale ({scale:.0f} samples) is {scale / size:.0f} times the batch of {size}.",
        "A larger batch, its learning rate raised with it, would need fewer steps for nearly the same "
        "samples; fisherscope advise says which sizes save time.",
        {"batch_size": size, "noise_scale": scale},
    )  # fmt: skip


def _cost(epochs: Sequence[Row]) -> Finding | None:
    pairs = [(row.get("time/fisher_s"), row.get("time/train_s")) for row in epochs]
    known = [(fisher, train) for fisher, train in pairs if fisher is not None and train]
    total = sum(train for _, train in known)
    share = sum(fisher for fisher, _ in known) / total if total else 0.0
    if share <= MEASURING:
        return None
    return Finding(
        "costly-measuring", "hint", f"Measuring took {share:.0%} of the training time.",
        "Measure fewer steps: `every` is the number of steps from one measurement to the next.",
        {"share": share},
    )  # fmt: skip
