"""What a reading of a call's rows says about the next graph of the same signature."""

from __future__ import annotations

import torch

from fisherscope.gram.batch_axis.plan import SettledRows
from fisherscope.gram.identity.pending import PendingCall
from fisherscope.gram.identity.row_ids import RowReading
from fisherscope.gram.identity.survey import Survey


def is_reached(call: PendingCall, survey: Survey) -> bool:
    """Tell whether a path leads from the outputs to a call."""
    return any(edge.node in survey.nodes for _, edge in call.edges)


def is_moved(call: PendingCall, survey: Survey) -> bool:
    """Tell whether rows may change places between a call and the outputs, by data or by chance."""
    return bool(survey.moved) and any(edge.node in survey.moved for _, edge in call.edges)


def serves(before: SettledRows, call: PendingCall) -> bool:
    """Tell whether what is remembered of a call is enough for it as it is now."""
    return before.verdict != "again" and call.expected is not None


def recall_reading(
    call: PendingCall, reading: RowReading | None, verdict: str, survey: Survey
) -> SettledRows | None:
    """Return what holds for the next graph of the same signature; None if nothing does."""
    shape = call.call.out_shape
    if 0 in shape or verdict == "moved":  # rows that moved may move otherwise next time
        return None
    if verdict in ("unread", "mixed") or reading is None:
        holes = None
        if verdict == "unread" and is_reached(call, survey) and call.expected is not None and len(shape):
            holes = torch.ones(shape[call.expected.dim], dtype=torch.bool)
            return SettledRows(verdict, shape, call.expected.dim, holes=holes)
        return SettledRows(verdict, shape)
    silent = reading.ids < 0
    return SettledRows(
        verdict, shape, reading.dim, reading.lead, holes=silent if bool(silent.any()) else None
    )
