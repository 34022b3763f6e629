"""Warnings and remarks about the measurement of a user's model."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from fisherscope.eigenvalues import Spectrum
from fisherscope.gram import GramRecord, record_gram
from fisherscope.model_state import RandomState, same_draws
from fisherscope.tasks import Subject

_DROPOUT = (nn.Dropout, nn.modules.dropout._DropoutNd)


def warnings_of(
    subject: Subject, model: nn.Module, record: GramRecord, eigenvalues: Spectrum | None
) -> list[str]:
    """List what limits the measurement, the most serious first.

    Args:
        subject: The workload.
        model: The model after the recorded step.
        record: A record of one step.
        eigenvalues: Spectrum of its Gram; None without one.

    Returns:
        One sentence for each.
    """
    texts = [text for text in (_coverage_gaps(record), _missing_gradients(record), _status(record)) if text]
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training for m in model.modules()):
        texts.append(
            "BatchNorm in training mode couples the samples: a column is a sample's share of this step's "
            "gradient (semantics='per_loss' gives ∇ℓ_i, with one backward pass a sample)"
        )
    slow = [row.parameter for row in record.coverage if "replay" in row.rule]
    if slow:
        texts.append(
            f"no rule for {', '.join(slow[:3])}: their calls are repeated sample by sample, which is slow"
        )
    if eigenvalues is not None and eigenvalues.censored:
        texts.append(
            f"the smallest singular value lies at the rounding floor: c is {eigenvalues.cond:.3g} or more; "
            "precision='float64' lowers the floor"
        )
    if record.batch_size == 1:
        texts.append("a batch of one sample has no useful spectrum: c is 1 and the noise scale is undefined")
    return texts + record.notes


def count_warnings(subject: Subject, record: GramRecord, drawn: int) -> list[str]:
    """Say that the Gram has another number of samples than the batch.

    Args:
        subject: The workload.
        record: A record of one step.
        drawn: Samples of the batch.

    Returns:
        One sentence, or none.
    """
    if not record.measured or record.batch_size == drawn:
        return []
    if subject.options.get("sample_of") is not None:
        return [
            f"sample_of names {record.batch_size} samples in a batch of {drawn}: samples can't be run one by "
            "one; to compare that way too give a data set, or a DataLoader with your collate_fn"
        ]
    return [
        f"the Gram has {record.batch_size} samples and the batch {drawn}: if rows of the model's inputs are "
        "not samples (pairs, packed sequences, nodes of graphs, episodes), say which sample each belongs to: "
        "sample_of=…, such as fs.samples.concatenation(2), packing() or graphs()"
    ]


def remarks_of(model: nn.Module) -> list[str]:
    """List what may look like a problem and is none.

    Args:
        model: The model after the recorded step.

    Returns:
        One sentence for each.
    """
    texts = []
    if any(isinstance(m, _DROPOUT) and m.training and m.p > 0 for m in model.modules()):
        texts.append("dropout is on, which is fine: columns are those of the sampled masks")
    frozen = [p.numel() for p in model.parameters() if not p.requires_grad]
    if frozen:
        texts.append(f"{sum(frozen):,} numbers of {len(frozen)} frozen parameters are not measured")
    return texts


def check_neutrality(subject: Subject, batch: Any) -> str:
    """Compare gradients, buffers and random state after a measured and a plain step.

    Args:
        subject: Model and loss; copies of the model are used.
        batch: One batch.

    Returns:
        The result in words: "bit for bit as unmeasured: …" if they are equal.
    """
    first = subject.make()
    plain = [_after(subject, copy.deepcopy(first), batch, recorded=False) for _ in range(2)]
    recorded = _after(subject, copy.deepcopy(first), batch, recorded=True)
    if not _alike(plain[0], plain[1]):
        return "two plain steps differ already (a kernel that is not deterministic), so this can't be checked"
    if _alike(plain[0], recorded):
        return "bit for bit as unmeasured: gradients, buffers, random state"
    return "NOT as unmeasured: gradients, buffers or random state differ; please report this"


def _after(subject: Subject, model: nn.Module, batch: Any, recorded: bool) -> list[torch.Tensor]:
    with same_draws():
        if recorded:
            with record_gram(model, **{**subject.options, "strict": False}):
                subject.loss(model, batch).backward()
        else:
            subject.loss(model, batch).backward()
        grads = [torch.zeros(()) if p.grad is None else p.grad.to_dense() for p in model.parameters()]
        random_state = RandomState.capture()
        parameters = (parameter.detach() for parameter in model.parameters())
        return [*grads, *model.buffers(), *parameters, random_state.cpu, *random_state.cuda]


def _alike(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def _coverage_gaps(record: GramRecord) -> str:
    skipped = [row for row in record.coverage if row.rule == "left out"]
    count = sum(row.count for row in skipped)
    if not skipped:
        return ""
    return (
        f"{count:,} numbers of {len(skipped)} parameters can't be split by sample (see below) and are left "
        "out; semantics='per_loss' measures them too, with one backward pass a sample"
    )


def _missing_gradients(record: GramRecord) -> str:
    none = [row.parameter for row in record.coverage if row.rule == "no gradient"]
    names = ", ".join(none[:3]) + (", …" if len(none) > 3 else "")
    return f"{len(none)} parameters received no gradient in this step: {names}" if none else ""


def _status(record: GramRecord) -> str:
    return "" if record.status == "ok" or record.status.startswith("partial") else record.status
