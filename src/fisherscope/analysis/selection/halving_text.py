"""Text of a `HalvingResult`: the setting, how sure that is, what was lost, and the cost."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fisherscope.analysis.data.compared_metric import metric_text
from fisherscope.analysis.data.setting_notes import dead_text
from fisherscope.analysis.selection.grid_edges import edge_note
from fisherscope.analysis.selection.result import use_text
from fisherscope.analysis.selection.successive_halving import ROUNDING
from fisherscope.plain_text import duration

if TYPE_CHECKING:
    from fisherscope.analysis.selection.halving_result import Candidate, HalvingResult

LONGEST_REASON = 300
"""Characters of a failure's text that are quoted."""


def result_text(result: "HalvingResult") -> str:
    """Say which setting to use, how sure that is, and what it cost."""
    lines = [_headline(result), _caution_text(result), _rivals_text(result), _cost_text(result)]
    lines += [dead_candidates_text(result.candidates, result.dead)]
    lines += [edge_note(*edge) for edge in result.edges]
    return "\n".join(line for line in lines if line)


def dead_candidates_text(candidates: "Sequence[Candidate]", dead: Mapping[str, str]) -> str:
    """Name the candidates whose network is dead.

    Args:
        candidates: The settings to name them of.
        dead: Why a network is dead, by run id.

    Returns:
        Two sentences; empty if none is.
    """
    affected = [c for c in candidates if c.run_id in dead]
    if not affected:
        return ""
    return dead_text([c.name for c in affected], len(affected), "run", dead[affected[0].run_id])


def _headline(result: "HalvingResult") -> str:
    best, value = result.recommended, result.value
    if best is None or value is None:
        if result.state.todo:
            return "Nothing can be recommended yet: the search is not complete."
        return f"Nothing can be recommended: {_losses_text(result)}."
    use = use_text(best.batch_size, best.lr, best.name)
    return f"{use}: measured {metric_text(result.metric)} {result.text(value)} ({_interval_text(result)})."


def _losses_text(result: "HalvingResult") -> str:
    """Say why no setting could be finished, and what to do about each reason."""
    reasons = Counter(reason for reason in result.reasons.values() if reason)
    diverged = sum(not reason for reason in result.reasons.values())
    candidates_left = np.array([c.run_id not in result.reasons for c in result.candidates])
    unscored = int((candidates_left & np.isinf(result.values).any(axis=1)).sum())
    texts = []
    if reasons:
        (reason, count), *others = reasons.most_common()
        more = f", and {len(others)} other reasons" if others else ""
        texts.append(
            f"{reasons.total()} runs failed ({count}: {reason[:LONGEST_REASON]}{more}); fix that and run "
            "the same command again"
        )
    if diverged:
        texts.append(f"{diverged} runs diverged; try smaller learning rates")
    if unscored:
        texts.append(
            f"{unscored} runs have a {metric_text(result.metric)} that is not finite; check what the "
            "task's scores return"
        )
    return ". ".join(texts) or "no setting could be finished"


def _interval_text(result: "HalvingResult") -> str:
    if result.interval is None:
        return "one seed; its noise is not known"
    low, high = (result.text(value) for value in result.interval)
    ends = f"{low.removesuffix(' %')} to {high}"
    return f"80 % interval {ends}, one seed, {result.samples} validation samples"


def _caution_text(result: "HalvingResult") -> str:
    """Say that the chosen setting's network is dead, or that it became worse after it was chosen."""
    best = result.recommended
    if best is not None and best.run_id in result.dead:
        return f"Do not use it: its network is dead: {result.dead[best.run_id]}. Try smaller learning rates."
    if result.better_at is None:
        return ""
    epoch, value = result.better_at
    return (
        f"Do not rely on it: it was better at epoch {epoch} ({result.text(value)}), where it was chosen "
        "over others. Try smaller learning rates, the --optimizer you train with, or a larger --budget, "
        "which compares later."
    )


def _rivals_text(result: "HalvingResult") -> str:
    if result.recommended is None:
        return ""
    if result.samples is None:
        return f"Whether others are as good is not known: the noise of {metric_text(result.metric)} is not."
    by_epoch = dict[int, list[str]]()
    for candidate, epoch in result.rivals:
        by_epoch.setdefault(epoch, []).append(candidate.name)
    if not by_epoch:
        return f"All other settings had a clearly worse {metric_text(result.metric)} when they were dropped."
    parts = [f"{', '.join(names)} (compared at epoch {epoch})" for epoch, names in by_epoch.items()]
    text = f"Statistically tied with: {'; '.join(parts)}."
    if result.fastest is not None:
        text += f" {result.fastest[0].name} trains {result.fastest[1].text} times faster."
    elif result.model is None and (fewer := result.fewest_steps) is not None:
        ratio = fewer.batch_size / result.recommended.batch_size
        text += f" {fewer.name} takes {ratio:.3g} times fewer steps."
    return text


def _cost_text(result: "HalvingResult") -> str:
    whole, allowed = len(result.candidates) * result.plan.epochs, math.floor(result.plan.allowed + ROUNDING)
    epochs = result.spent_epochs
    spent = f"Spent {epochs} of {allowed} epochs allowed, {epochs / whole:.0%} of the grid's {whole}"
    if result.steps is not None and result.steps.sum() > 0:
        spent += f"; {result.steps.sum():,.0f} steps"
    if result.model is None or result.all_seconds is None:
        return f"{spent}."
    how = "CPU time of training" if result.model.kind == "process" else "training, modelled"
    return f"{spent}, {duration(result.all_seconds)} of {how}."
