"""The text of a branching's answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fisherscope.plain_text import aligned_table

if TYPE_CHECKING:
    from fisherscope.branching.predictions import Prediction
    from fisherscope.branching.result import ArmResult, BranchResult
    from fisherscope.branching.trade_off import TradeOff

BETAS = {
    "per-step": "betas as they are",
    "beta2-in-samples": "β₂ in samples",
    "in-samples": "both betas in samples",
}


def result_text(result: BranchResult) -> str:
    """Say what was trained, what the critical batch size is, how it moves, and what was predicted."""
    plan, point = result.plan, result.plan.point
    lines = [
        f"Branches of {point.task} from {point.run}, epoch {point.epoch}, step {point.step}: batch size "
        f"{point.batch_size}, rate {point.lr:.3g}, loss {point.loss:.4f}.",
        f"{len(plan.sizes)} sizes × {plan.orders} orders of the data × "
        f"{', '.join(map(str, plan.lengths))} samples, {point.optimizer}, rate decayed to a hundredth, "
        f"{BETAS[plan.betas]}.",
    ]
    if not result.complete:
        return "\n".join(
            [*lines, f"{len(result.unfinished)} runs are missing; run the same again to resume."]
        )
    first = result.arms[0]
    lines += ["", *_size_table(result, first), "", _headline(first)]
    lines += _equal_samples(first)
    moves = _moves(result)
    lines += ["", "How it moves:", *moves] if moves else []
    lines += ["", "Noise scale over the branching point's next steps (a prediction of it):"]
    lines += [_prediction(prediction, point.optimizer) for prediction in result.predictions]
    return "\n".join([*lines, *_notes(result)])


def _size_table(result: BranchResult, arm: ArmResult) -> list[str]:
    plan, fit = result.plan, arm.trade_offs[0] if arm.trade_offs else None
    head = ["batch size", "rate", *(f"loss at {length}" for length in plan.lengths), "± orders"]
    head += [f"samples to {fit.target:.4f}", "steps"] if fit else []
    rows = []
    for k, size in enumerate(arm.sizes):
        ends = arm.ends[:, k]
        spread = f"{ends[:, -1].std(ddof=1):.4f}" if len(ends) > 1 else "–"
        rate = f"{arm.arm.rate(size, plan.point.batch_size):.3g}"
        row = [f"{size}", rate, *(f"{loss:.4f}" for loss in ends.mean(0)), spread]
        rows.append(row + ([f"{fit.samples[k]:.0f}", f"{fit.steps[k]:.0f}"] if fit else []))
    for size in arm.diverged:
        rate = f"{arm.arm.rate(size, plan.point.batch_size):.3g}"
        rows.append([f"{size}", rate, "diverged", *[""] * (len(head) - 3)])
    return [f"  {line}" for line in aligned_table(head, rows, align="r")]


def _headline(arm: ArmResult) -> str:
    if not arm.trade_offs or arm.trade_offs[0].why:
        return f"Critical batch size: not defined here. {arm.reason[:1].upper()}{arm.reason[1:]}."
    fit = arm.trade_offs[0]
    beyond = "" if arm.sizes[0] <= fit.critical <= arm.sizes[-1] else " It lies beyond the sizes tried."
    return (
        f"Critical batch size {size_text(fit)}, by S = S_min (1 + B_crit/B) at loss {fit.target:.4f}: "
        f"S_min {fit.least_steps:.0f} steps, E_min {fit.least_samples:.0f} samples, misfit "
        f"{100 * fit.misfit:.1f} %.{beyond}"
    )


def size_text(fit: TradeOff) -> str:
    """Write a critical batch size with its interval."""
    if fit.why:
        return "not defined"
    if fit.low == 0 and math.isinf(fit.high):
        return f"{fit.critical:.0f} (no interval)"
    if math.isinf(fit.high):
        return f"{fit.critical:.0f} (90 %: at least {fit.low:.0f})"
    return f"{fit.critical:.0f} (90 %: {fit.low:.0f} to {fit.high:.0f})"


def _equal_samples(arm: ArmResult) -> list[str]:
    equal = arm.equal
    if equal is None:
        return []
    words = {"at least": f"at least {equal.size:.0f}, the largest tried", "below": "none of the sizes tried"}
    what = words.get(equal.note, f"up to {equal.size:.0f} ({equal.low:.0f} to {equal.high:.0f})")
    note = f" ({equal.note})" if equal.note.startswith("inconclusive") else ""
    return [f"At equal samples: {what}, lose less than {equal.tolerance:g} against {arm.sizes[0]}{note}."]


def _moves(result: BranchResult) -> list[str]:
    rows = []
    for number, arm in enumerate(result.arms):
        what = f"{arm.arm.rescale}, base rate {arm.arm.base_rate:.3g}"
        if not arm.trade_offs:
            rows.append((what, "–", f"not defined: {arm.why}"))
        fits = arm.trade_offs[1:] if number == 0 else arm.trade_offs
        rows.extend((what, f"{fit.target:.4f}", size_text(fit)) for fit in fits)
    lines = aligned_table(("rescaling", "loss", "critical batch size"), rows) if rows else []
    return [f"  {line}" for line in lines]


def _prediction(prediction: Prediction, optimizer: str) -> str:
    name = "Euclidean" if prediction.metric == "Euclidean" else f"in {optimizer}'s metric"
    if prediction.why:
        return f"  {name}: {prediction.why}"
    high = "and more" if math.isinf(prediction.high) else f"to {prediction.high:.0f}"
    return f"  {name}: {prediction.scale:.0f} ({prediction.low:.0f} {high})"


def _notes(result: BranchResult) -> list[str]:
    notes = []
    if result.plan.orders < 3:
        notes.append("fewer than 3 orders: intervals say little")
    if result.plan.point.run_ended:
        notes.append(f"the run had finished: its rate had decayed to {result.plan.point.lr:.3g}")
    return ["", *(f"Note: {note}." for note in notes)] if notes else []
