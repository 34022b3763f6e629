"""`examine`: is the Gram of this model and batch exact, what does it cover, what does it cost?"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fisherscope.eigenvalues import spectrum
from fisherscope.gram import GramRecord, record_gram
from fisherscope.gram.interception.torch_private import tree_leaves
from fisherscope.model_state import preserve_random_state, rng
from fisherscope.tasks import Subject, subject_of
from fisherscope.tasks.batch_source import StreamSource, single_batch_source
from fisherscope.verification.comparison import (
    Comparison,
    compare_alone,
    compare_by_outputs,
    compare_in_training,
    count_mismatch,
)
from fisherscope.verification.diagnostics import check_neutrality, count_warnings, remarks_of, warnings_of
from fisherscope.verification.overhead import measure_overhead
from fisherscope.verification.result import Examination

LOOPED = 32
"""Samples that the loops are made over at most: they take a backward pass each."""
SECONDS = 6.0
"""Time that is spent on the cost of a step."""


def examine(
    subject: Subject | nn.Module, loss: Any = None, batch: Any = None, *, batch_size: int | None = None,
    seconds: float = SECONDS, **record: Any,
) -> Examination:  # fmt: skip
    """Prove the Gram of a model on its own batch, and say what it covers and costs.

    Args:
        subject: From `fs.tasks.subject(name)`; or a model, with its loss and a batch.
        loss: (model, batch) → scalar, and what else `fs.tasks.subject_of` takes.
        batch: One batch.
        batch_size: To draw where the subject has a data set; 32 by default.
        seconds: Time to spend on the cost of a step.
        record: Arguments of `record_gram`, where a model is given.

    Returns:
        The result, an `Examination`; `str` of it is a report.

    Raises:
        GramError: Nothing can be measured: which dimension holds the samples can't be determined, say.
        TaskError: The arguments are no model, loss and batch.
        ValueError: `seconds` is below 0 or no number.

    Cost: a few backward passes for each of 32 samples at most, in float64, and `seconds`. Everything runs on
    copies: the model that was given stays as it is.

    Example:
        ```python
        import torch

        import fisherscope as fs

        model = torch.nn.Linear(4, 3)
        batch = torch.randn(5, 4), torch.randint(3, (5,))
        result = fs.examine(
            model, lambda m, b: torch.nn.functional.cross_entropy(m(b[0]), b[1]), batch, seconds=0.1
        )
        assert result.exact, str(result)
        assert result.as_dict()["exact"]
        ```
    """
    if not 0 <= seconds < math.inf:
        raise ValueError(f"examining a model: seconds={seconds} for the cost of a step; expected 0 or more")
    if not isinstance(subject, Subject):
        subject = subject_of(subject, loss, batch=batch, record=record)
    with preserve_random_state():
        rng.seed_torch(0)
        return _examine(_number_rows(subject, batch_size or LOOPED), batch_size, seconds)


def _number_rows(subject: Subject, size: int) -> Subject:
    """Return the workload with the first samples of a stream, by number."""
    if not isinstance(subject.source, StreamSource):
        return subject
    source = subject.source.head(size + 1)
    return replace(subject, source=source, dataset_size=source.samples)


def _examine(subject: Subject, batch_size: int | None, seconds: float) -> Examination:
    whole = subject.batch(batch_size)
    model, record = _record_step(subject, whole)
    eigenvalues = spectrum(record.gram, record.entry_error) if record.measured else None
    drawn = batch_size or subject.given_size or min(LOOPED, subject.dataset_size or LOOPED)
    size = record.batch_size or drawn
    return Examination(
        subject.name, size, sum(p.numel() for p in model.parameters() if p.requires_grad),
        record.coverage, _proofs(subject, whole, record, drawn), check_neutrality(subject, whole),
        [*count_warnings(subject, record, drawn), *warnings_of(subject, model, record, eigenvalues)],
        remarks_of(model),
        None if eigenvalues is None else eigenvalues.cond,
        None if eigenvalues is None else eigenvalues.accuracy,
        measure_overhead(subject, whole, size, seconds),
    )  # fmt: skip


def _proofs(subject: Subject, whole: Any, record: GramRecord, drawn: int) -> list[Comparison]:
    """Compare in two ways, at the batch's size and at another dimension's; by rows as far as they allow."""
    size, given = record.batch_size or drawn, subject.options.get("sample_of")
    if size != drawn and given is None:
        return [count_mismatch(size, drawn)]
    if size != drawn or (given is not None and not callable(given)):  # rows can't be taken one by one
        return [compare_by_outputs(subject, whole, size)]
    proofs = []
    for sample_count in _sizes(subject, whole, size):
        batch, larger, parts = _parts(subject, sample_count)
        proofs.append(compare_alone(subject, batch, parts))
        outputs = compare_by_outputs(subject, batch, sample_count)
        by_derivation = record.grouping == "derived"
        proofs.append(
            outputs
            if outputs.error is not None or by_derivation
            else compare_in_training(subject, batch, larger, parts[0], sample_count)
        )
    return proofs


def _record_step(subject: Subject, batch: Any) -> tuple[nn.Module, GramRecord]:
    """Return the model and the record of one measured step, unsplittable parts left out."""
    model = subject.make()
    with record_gram(model, **{**subject.options, "strict": False}) as record:
        subject.loss(model, batch).backward()
    if not record.measured:
        with record_gram(model, **subject.options) as record:  # raises what stands in the way
            subject.loss(model, batch).backward()
    return model, record


def _sizes(subject: Subject, batch: Any, size: int) -> list[int]:
    """Return the batch's size, up to a limit, and one that equals another dimension."""
    first = min(size, LOOPED)
    shapes = [tuple(t.shape) for t in tree_leaves(batch) if isinstance(t, Tensor)]
    others = {d for shape in shapes for d in shape if 1 < d <= LOOPED and d != first}
    weights = {d for p in subject.make().parameters() for d in p.shape if 1 < d <= LOOPED and d != first}
    return [first, *sorted(others or weights)[-1:]]


def _parts(subject: Subject, size: int) -> tuple[Any, Any, list[Any]]:
    """Return a batch, one with a sample more, and its samples one by one; padded alike."""
    numbers = torch.arange(size + 1) % subject.source.samples
    take = subject.source.take
    larger = take(numbers)
    parts = take(numbers[:size]), larger, [take(numbers[k : k + 1]) for k in range(size)]
    batch_option = subject.options.get("batch")
    dim = batch_option if isinstance(batch_option, int) else 0
    if len({_form(part, dim) for part in (*parts[:2], *parts[2])}) == 1:
        return parts
    rows = single_batch_source(
        subject.make(), larger, dim
    )  # a collation that pads to the longest: rows of one batch
    if rows.samples != size + 1:
        return parts
    every = torch.arange(size)
    return rows.take(every), larger, [rows.take(every[k : k + 1]) for k in range(size)]


def _form(batch: Any, dim: int) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of a batch's tensors without the number of samples."""
    shapes = [list(t.shape) for t in tree_leaves(batch) if isinstance(t, Tensor)]
    return tuple(tuple(s[:at] + s[at + 1 :]) for s in shapes for at in [dim if len(s) > dim else 0])
