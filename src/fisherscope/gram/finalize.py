"""The end of a measurement: the Gram on the CPU, scaled, and checked against the gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from fisherscope.gram.accumulation.accumulator import ParameterStats
from fisherscope.gram.accumulation.remedies import PER_LOSS, SECOND_ORDER, StepKinds
from fisherscope.gram.accumulation.residual import TOLERATED_ROUNDINGS
from fisherscope.gram.errors import GramError, IncompleteError
from fisherscope.gram.identity.evidence import weakest
from fisherscope.gram.interception.model_parts import list_parts
from fisherscope.gram.nonfinite import nonfinite_samples, nonfinite_text
from fisherscope.gram.ranks.measure_with_ranks import measure_with_ranks
from fisherscope.gram.ranks.process_group import Ranks
from fisherscope.gram.record import Coverage, GramRecord
from fisherscope.gram.recorder import Recorder

# A residual is relative to the parameter's own gradient, or to this share of the whole gradient if that is
# longer: some gradients (an attention key's bias) are zero in exact arithmetic and hold only rounding errors.
_NEGLIGIBLE = 1e-2
_LARGEST_TOLERANCE = 0.1
"""A use that was not recorded leaves out about the whole gradient; a larger tolerance would accept that."""


def finish(recorder: Recorder, record: GramRecord) -> None:
    """Fill the record from its recorder's sums.

    Raises:
        GramError: With `strict`: nothing was measured, or the columns do not add up to the gradients.
    """
    accumulator, settings = recorder.accumulator, recorder.settings
    accumulator.multiply_pools()
    metric = recorder.metric
    record.metric = None if metric is None else metric.record
    record.coverage = [_coverage(recorder, name, p) for name, p in recorder.trainable.items()]
    record.notes += _changes(recorder)
    record.probe_seconds = recorder.probe_seconds
    record.notes += recorder.tracker.notes
    record.grouping = weakest(recorder.gradients.evidence)
    if recorder.gradients.loss is not None:
        record.loss = float(recorder.gradients.loss) / settings.loss_scale
    if recorder.ranks is None:
        measured = _measure_alone(recorder, record)
    else:
        measured = _measure_with_ranks(recorder, recorder.ranks, record)
    if not measured:
        if metric is not None:
            metric.record.status = record.status
        if settings.strict:
            raise recorder.problems.failure or GramError(f"Measuring the Gram matrix: {record.status}")
        return
    record.doubts = _doubts(recorder, record)
    record.notes += record.doubts
    if recorder.frame.dropped:
        record.notes.append(
            f"{recorder.frame.dropped} backward passes before the last were thrown away (their gradients "
            "were cleared): they are not part of the measurement"
        )
    if recorder.problems.failure is not None:
        raise recorder.problems.failure


def _doubts(recorder: Recorder, record: GramRecord) -> list[str]:
    """List why the samples that were counted may not be those that were meant."""
    found, expected = list(recorder.tracker.doubts), recorder.settings.batch_size
    if expected not in (None, record.local_batch_size) and not found:
        found.append(
            f"the batch has {expected} samples and {record.local_batch_size} were counted: where rows of the "
            "model's inputs are not samples, say which each belongs to (sample_of=…, see fs.samples)"
        )
    return found


def _measure_alone(recorder: Recorder, record: GramRecord) -> bool:
    """Fill the record from this process alone; False where nothing was measured."""
    accumulator, settings = recorder.accumulator, recorder.settings
    if accumulator.accumulate and accumulator.stored_columns:
        accumulator.assemble()
    if accumulator.gram is None or accumulator.entry_error is None:
        record.status = _empty_result(recorder)
        return False
    gram = accumulator.gram.cpu()
    factor = (len(gram) if settings.reduction == "mean" else 1.0) / settings.loss_scale
    # Both halves: products of blocks round differently on either side.
    record.fill((gram + gram.T).mul_(factor**2 / 2))
    _fill_statistics(recorder, record, accumulator.statistics, factor)
    if recorder.metric is not None:
        recorder.metric.finish(factor)
    record.entry_error = _entry_error(accumulator.entry_error.cpu(), gram)
    record.wall_seconds = recorder.gradients.seconds + accumulator.seconds
    _diagnose(recorder, record)
    problem = recorder.frame.problem() if settings.semantics == "path" else None
    if problem is not None and record.status == "ok":
        record.status = f"not the step's: {problem}"
    return True


def _measure_with_ranks(recorder: Recorder, ranks: Ranks, record: GramRecord) -> bool:
    """Fill the record from all ranks' batches; False where nothing was measured."""
    settings = recorder.settings
    empty = None if recorder.accumulator.statistics else _empty_result(recorder)
    joint = measure_with_ranks(recorder, ranks, record, empty)
    own = joint.counts[ranks.rank]
    record.notes += joint.notes
    record.bytes_sent = joint.bytes_sent
    record.loss = joint.loss
    record.grouping = weakest(set(joint.groupings))
    if not joint.statistics:
        record.fill_jointly(None, ranks.size, joint.samples, own, joint.mode)
        record.status = joint.status or "nothing measured: no parameter was measured on every rank"
        return False
    mean = settings.reduction == "mean"
    factor = (joint.samples / ranks.size if mean else 1.0) / settings.loss_scale
    gram, error = None, float("nan")
    if joint.gram is not None and joint.entry_error is not None:
        own_factor = factor if joint.mode == "global" or not mean else own / settings.loss_scale
        gram = (joint.gram + joint.gram.T).mul_(own_factor**2 / 2)
        error = _entry_error(joint.entry_error, joint.gram)
    record.fill_jointly(gram, ranks.size, joint.samples, own, joint.mode)
    record.entry_error = error
    recorder.problems.by_parameter.update(joint.problems)
    record.coverage = [_coverage(recorder, name, p) for name, p in recorder.trainable.items()]
    _fill_statistics(recorder, record, joint.statistics, factor)
    record.wall_seconds = recorder.gradients.seconds + recorder.accumulator.seconds
    _diagnose(recorder, record)
    if recorder.metric is not None:
        recorder.metric.finish(factor)
    if joint.status is not None and record.status == "ok":
        record.status = f"not the step's: {joint.status}"
    return True


def _entry_error(spread: Tensor, gram: Tensor) -> float:
    """Return the largest relative error of a diagonal entry."""
    relative = spread / gram.diagonal()
    return float(relative.nan_to_num_(0.0, 0.0, 0.0).max())  # 0/0 where a sample has none


def _fill_statistics(
    recorder: Recorder, record: GramRecord, statistics: Mapping[str, ParameterStats], factor: float
) -> None:
    """Each parameter's trace, mean gradient and residual, in one transfer from the device."""
    scalars = [(t.trace, t.mean_square, t.sum_error, t.rounding_scale) for t in statistics.values()]
    if any(trace.is_cuda for trace, *_ in scalars):
        table = torch.stack([value for row in scalars for value in row]).view(-1, 4).tolist()
    else:
        table = [[float(value) for value in row] for row in scalars]
    norm = max(sum(row[0] for row in table), 0.0) ** 0.5
    for (name, parameter), (trace, square, error, rounding_scale) in zip(
        statistics.items(), table, strict=True
    ):
        # of the gradient, and of its shares
        scale = (
            max(trace, square, 0.0) ** 0.5
            if parameter.sizes is None
            else max(float(parameter.sizes), max(trace, 0.0) ** 0.5)
        )
        scale = max(scale, _NEGLIGIBLE * norm)
        record.traces[name], record.mean_squares[name] = trace * factor**2, square * factor**2
        record.residuals[name] = error / scale if scale > 0 else (0.0 if error == 0 else float("inf"))
        terms = rounding_scale / scale if scale > 0 else 0.0
        rounding = recorder.usage[name].eps * max(TOLERATED_ROUNDINGS, terms)
        record.tolerances[name] = min(rounding, _LARGEST_TOLERANCE)
    record.layers = {n: t.gram.cpu() * factor**2 for n, t in statistics.items() if t.gram is not None}


def _diagnose(recorder: Recorder, record: GramRecord) -> None:
    """Set the status: columns that do not add up to the gradient are reported."""
    problems = recorder.problems.by_parameter
    record.status = "ok"
    if not _is_finite(record):
        record.status = _nonfinite_status(record)
        return
    if not record.trace:
        record.status = "zero: every per-sample gradient is zero"
    wrong = {n: r for n, r in record.residuals.items() if not r <= record.tolerances[n]}
    if wrong:
        worst = max(wrong, key=lambda name: wrong[name])
        record.status = f"incomplete: the columns of {worst!r} miss its gradient by {wrong[worst]:.1e}"
        unnamed = recorder.tracker.sample_rows.unnamed_rows
        if unnamed:
            record.status += (
                f"; the loss depends on some of the {unnamed} rows to which sample_of gives no sample"
            )
        if recorder.settings.strict:
            raise IncompleteError(
                f"Measuring the Gram matrix: {record.status} (tolerance {record.tolerances[worst]:.0e}). "
                + _unseen_use(recorder.problems.step)
            )
    unused = recorder.tracker.sample_rows.unused_rows_problem()
    if unused:
        record.status = f"incomplete: {unused}"
        if recorder.settings.strict:
            raise IncompleteError(f"Measuring the Gram matrix: {unused}.")
    if problems and record.status == "ok":
        record.status = f"partial: {len(problems)} parameters left out"
    record.notes[:0] = [f"{name}: {text}" for name, text in problems.items()]  # the first says why


def _nonfinite_status(record: GramRecord) -> str:
    if record.ranks == 1 or record.spectrum == "global":
        return nonfinite_text(nonfinite_samples(record.gram), len(record.gram))
    return "non-finite: the gradients hold NaN or infinity"


def _is_finite(record: GramRecord) -> bool:
    if record.ranks == 1 or record.spectrum == "global":
        return math.isfinite(float(record.gram.sum())) or bool(torch.isfinite(record.gram).all())
    return math.isfinite(record.trace) and math.isfinite(record.mean_square)


def _empty_result(recorder: Recorder) -> str:
    if (
        recorder.gradients.backwards == 0
        and not recorder.accumulator.statistics
        and not recorder.problems.by_parameter
    ):
        return "nothing measured: no backward pass ran inside the `with` block; call loss.backward() there"
    by_text: dict[str, list[str]] = {}
    for name, text in recorder.problems.by_parameter.items():
        by_text.setdefault(text, []).append(name)
    shown = [f"{names[0]}{_others(len(names) - 1)}: {text}" for text, names in by_text.items()]
    reasons = "; ".join(shown[:3])
    why = reasons or "none received one"
    return f"nothing measured: no parameter's gradient could be split by sample ({why})"


def _others(count: int) -> str:
    return f" and {count} more" if count else ""


def _unseen_use(step: StepKinds) -> str:
    if step.second_order:
        return SECOND_ORDER
    return f"Some use of it was not seen. Leave it out with parameters=…, or {PER_LOSS}."


def _changes(recorder: Recorder) -> list[str]:
    """Parameters that are no longer those that the `with` block began with."""
    if recorder.sharded is not None:
        return []  # whole parameters come and go in every forward
    now = list_parts(recorder.model).parameters
    replaced, converted = [], []
    for name, parameter in recorder.trainable.items():
        if now.get(name) is not parameter:
            replaced.append(name)
        elif (parameter.shape, parameter.dtype, parameter.device) != recorder.began[name]:
            converted.append(name)
    return [
        f"changed: parameters {', '.join(map(repr, names[:3]))} were {what} inside the `with` block"
        for names, what in ((replaced, "replaced"), (converted, "moved or converted"))
        if names
    ]


def _coverage(recorder: Recorder, name: str, parameter: Tensor) -> Coverage:
    measured = name in recorder.accumulator.statistics and name not in recorder.problems.by_parameter
    if name not in recorder.parameters:
        rule = "not selected"
    elif name in recorder.problems.by_parameter:
        rule = "left out"
    elif not measured:
        rule = "no gradient"
    else:
        rule = " + ".join(sorted(recorder.usage[name].rules)) or "own backward pass"
    return Coverage(name, rule, parameter.numel(), measured)
