"""The end of a measurement: what was found, brought to the CPU, scaled, and how far it can be trusted."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fisherscope.gram.accumulation.residual import TOLERATED_ROUNDINGS
from fisherscope.gram.errors import GramError, IncompleteError
from fisherscope.gram.identity.settlement import weakest
from fisherscope.gram.record import Coverage, GramRecord
from fisherscope.gram.recorder import Recorder

# A parameter's miss is measured against its own gradient, or this share of the whole one if that is more:
# some gradients (an attention key's bias) are zero in exact arithmetic and hold nothing but rounding.
_NEGLIGIBLE = 1e-2
_LARGEST_TOLERANCE = 0.1
"""A use that was not seen misses about the whole gradient, so that nothing coarser is a check."""


def finish(recorder: Recorder, record: GramRecord) -> None:
    """Fill the record from what its recorder has seen.

    Raises:
        GramError: With `strict`: nothing was measured, or the columns do not add up to the gradients.
    """
    accumulator, settings = recorder.accumulator, recorder.settings
    accumulator.multiply_pools()
    if accumulator.accumulate and accumulator.stored:
        accumulator.assemble()
    record.coverage = [_coverage(recorder, name, p) for name, p in recorder.trainable.items()]
    record.notes += _changes(recorder)
    record.probe_seconds = recorder.probe_seconds
    record.notes += recorder.tracker.notes
    record.grouping = weakest(recorder.gradients.evidence)
    if recorder.gradients.loss is not None:
        record.loss = float(recorder.gradients.loss) / settings.loss_scale
    if accumulator.gram is None or accumulator.spread is None:
        record.status = _empty_result(recorder)
        if settings.strict:
            raise recorder.problems.failure or GramError(f"Measuring the Gram matrix: {record.status}")
        return
    gram = accumulator.gram.cpu()
    samples = gram.shape[0]
    factor = (samples if settings.reduction == "mean" else 1.0) / settings.loss_scale
    # Both halves: products of blocks round differently on either side.
    record.fill((gram + gram.T).mul_(factor**2 / 2))
    _fill_tallies(recorder, record, gram, factor)
    relative = accumulator.spread.cpu() / gram.diagonal()
    record.entry_error = float(relative.nan_to_num_(0.0, 0.0, 0.0).max())  # 0/0 where a sample has none
    record.wall_seconds = recorder.gradients.seconds + accumulator.seconds
    _judge(recorder, record)
    if recorder.frame.dropped:
        record.notes.append(
            f"{recorder.frame.dropped} backward passes before the last were thrown away (their gradients "
            "were cleared): they are not part of the measurement"
        )
    problem = recorder.frame.problem() if recorder.settings.semantics == "path" else None
    if problem is not None and record.status == "ok":
        record.status = f"not the step's: {problem}"
    if recorder.problems.failure is not None:
        raise recorder.problems.failure


def _fill_tallies(recorder: Recorder, record: GramRecord, gram: Tensor, factor: float) -> None:
    """Each parameter's trace, mean gradient and residual, in one transfer from the device."""
    tallies = recorder.accumulator.tallies
    table = torch.stack(
        [value for t in tallies.values() for value in (t.trace, t.mean_square, t.sum_error, t.rounding_scale)]
    ).view(-1, 4)
    whole = max(float(gram.diagonal().sum()), 0.0) ** 0.5
    for (name, tally), (trace, square, miss, reach) in zip(tallies.items(), table.tolist(), strict=True):
        # of the gradient, and of its shares
        scale = (
            max(trace, square, 0.0) ** 0.5
            if tally.sizes is None
            else max(float(tally.sizes), max(trace, 0.0) ** 0.5)
        )
        scale = max(scale, _NEGLIGIBLE * whole)
        record.traces[name], record.mean_squares[name] = trace * factor**2, square * factor**2
        record.residuals[name] = miss / scale if scale > 0 else (0.0 if miss == 0 else float("inf"))
        terms = reach / scale if scale > 0 else 0.0
        rounding = recorder.usage[name].eps * max(TOLERATED_ROUNDINGS, terms)
        record.tolerances[name] = min(rounding, _LARGEST_TOLERANCE)
    record.layers = {n: t.gram.cpu() * factor**2 for n, t in tallies.items() if t.gram is not None}


def _judge(recorder: Recorder, record: GramRecord) -> None:
    """Diagnoses: what does not add up is reported, not believed."""
    gram, problems = record.gram, recorder.problems.by_parameter
    record.status = "ok"
    if not math.isfinite(float(gram.sum())) and not bool(torch.isfinite(gram).all()):
        record.status = "non-finite: the gradients hold NaN or infinity"
        return
    if not bool(gram.diagonal().any()):
        record.status = "zero: every per-sample gradient is zero"
    wrong = {n: r for n, r in record.residuals.items() if not r <= record.tolerances[n]}
    if wrong:
        worst = max(wrong, key=lambda name: wrong[name])
        record.status = f"incomplete: the columns of {worst!r} miss its gradient by {wrong[worst]:.1e}"
        if recorder.settings.strict:
            raise IncompleteError(
                f"Measuring the Gram matrix: {record.status} (tolerance {record.tolerances[worst]:.0e}); "
                "some use of it was not seen (by a derivative of a derivative, as of a gradient penalty?). "
                "Leave it out with parameters=…, or take semantics='per_loss'."
            )
    if problems and record.status == "ok":
        record.status = f"partial: {len(problems)} parameters left out"
    record.notes += [f"{name}: {text}" for name, text in problems.items()]


def _empty_result(recorder: Recorder) -> str:
    if (
        recorder.gradients.backwards == 0
        and not recorder.accumulator.tallies
        and not recorder.problems.by_parameter
    ):
        return "nothing measured: no backward pass ran inside the `with` block; call loss.backward() there"
    reasons = "; ".join(f"{name}: {text}" for name, text in list(recorder.problems.by_parameter.items())[:3])
    why = reasons or "none received one"
    return f"nothing measured: no parameter's gradient could be split by sample ({why})"


def _changes(recorder: Recorder) -> list[str]:
    """Parameters that are no longer those that the `with` block began with."""
    now = dict(recorder.model.named_parameters())
    gone = [name for name, p in recorder.trainable.items() if now.get(name) is not p]
    moved = [
        name
        for name, geometry in recorder.began.items()
        if name not in gone and (now[name].shape, now[name].dtype, now[name].device) != geometry
    ]
    return [
        f"changed: parameters {', '.join(map(repr, names[:3]))} were {what} inside the `with` block"
        for names, what in ((gone, "replaced"), (moved, "moved or converted"))
        if names
    ]


def _coverage(recorder: Recorder, name: str, parameter: Tensor) -> Coverage:
    measured = name in recorder.accumulator.tallies and name not in recorder.problems.by_parameter
    if name not in recorder.parameters:
        rule = "not selected"
    elif name in recorder.problems.by_parameter:
        rule = "left out"
    elif not measured:
        rule = "no gradient"
    else:
        rule = " + ".join(sorted(recorder.usage[name].rules)) or "own backward pass"
    return Coverage(name, rule, parameter.numel(), measured)
