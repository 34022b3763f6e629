"""What one recorder brings to a joint measurement, and how it leaves without making others wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from fisherscope.gram.ranks.global_gram import RankColumns
from fisherscope.gram.ranks.joint_measurement import JointMeasurement, RankReport, Standing, measure_jointly
from fisherscope.gram.ranks.process_group import Ranks
from fisherscope.gram.ranks.summed_gradient import square_sums
from fisherscope.gram.record import GramRecord
from fisherscope.gram.recorder import Recorder

_CLOSURE = 5e-2
"""Relative difference from the reduced gradient that reduced precision on the way may make."""


def measure_with_ranks(
    recorder: Recorder, ranks: Ranks, record: GramRecord, empty: str | None
) -> JointMeasurement:
    """Measure what this recorder saw and what the other ranks' recorders saw as one batch.

    Args:
        recorder: Of this rank; its block has ended.
        ranks: The channel.
        record: What this rank knows already.
        empty: Why this rank measured nothing, or None.

    Returns:
        The joint measurement.

    Raises:
        RanksError: Another rank took no part.
    """
    accumulator, settings = recorder.accumulator, recorder.settings
    columns = RankColumns.of(accumulator) if accumulator.stored_columns else None
    if settings.spectrum != "global" and columns is not None:
        accumulator.assemble()
        columns = None
    gram = None if accumulator.gram is None else accumulator.gram.cpu()
    samples = columns.total if columns is not None else 0 if gram is None else len(gram)
    report = RankReport(
        samples=samples,
        options={
            "reduction": settings.reduction,
            "semantics": settings.semantics,
            "loss_scale": settings.loss_scale,
            "spectrum": settings.spectrum,
            "max_bytes": settings.max_bytes,
            "parameters": sorted(recorder.parameters),
        },
        empty=empty,
        problems=dict(recorder.problems.by_parameter),
        layouts=None if columns is None else columns.layouts(),
        names=sorted(accumulator.statistics),
        loss=record.loss,
        entries=recorder.frame.entries() if settings.semantics == "path" else {},
        grouping=record.grouping,
        moved=recorder.frame.moved_problem(),
    )

    def local() -> tuple[Tensor | None, Tensor | None]:
        if columns is not None and accumulator.gram is None:
            accumulator.assemble()
        return accumulator.gram, accumulator.entry_error

    def squares(names: list[str], reduction: str) -> dict[str, Tensor]:
        if recorder.sharded is not None:
            return recorder.sharded.square_sums(names)
        gradients = {
            name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.detach()
            for name in names
            for parameter in (recorder.parameters[name],)
        }
        return square_sums(ranks, gradients, reduction)

    joint = measure_jointly(
        ranks, report, columns, local, accumulator.statistics, squares, settings.spectrum, settings.max_bytes
    )
    if recorder.sharded is not None and joint.mode == "global" and joint.status is None and joint.statistics:
        joint.status = _closure(joint, squares(sorted(joint.statistics), "averaged"))
    return joint


def _closure(joint: JointMeasurement, there: dict[str, Tensor]) -> str | None:
    """Compare the columns' sum with the gradient that the ranks reduced: 1ᵀF̃1 = N²|ĝ|²."""
    mine = torch.stack([joint.statistics[name].mean_square for name in there])
    reduced = torch.stack(list(there.values()))
    if bool(((mine.sqrt() - reduced.sqrt()).abs() <= _CLOSURE * reduced.sqrt().max()).all()):
        return None
    return "the gradients that the ranks reduced are not the sum of those that were measured"


@contextmanager
def others_never_wait(ranks: Ranks | None, standing: Standing) -> Iterator[None]:
    """Tell the other ranks, where the block does not, that this one takes no part in the measurement.

    Args:
        ranks: The channel, or None.
        standing: Why not.
    """
    before = 0 if ranks is None else ranks.rounds
    try:
        yield
    finally:
        if ranks is not None and ranks.rounds == before and ranks.closed is None:
            ranks.agree(standing, wait=False)
