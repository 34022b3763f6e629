"""What a user should know before they trust or use the measurement of their model."""

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


def warnings_of(subject: Subject, model: nn.Module, record: GramRecord, read: Spectrum | None) -> list[str]:
    """Sentences, the gravest first."""
    found = [text for text in (_uncovered(record), _ungraded(record), _status(record)) if text]
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training for m in model.modules()):
        found.append(
            "BatchNorm in training mode couples the samples: a column is a sample's share of this step's "
            "gradient (semantics='per_loss' gives ∇ℓ_i, with one backward pass a sample)"
        )
    slow = [row.parameter for row in record.coverage if "replay" in row.rule]
    if slow:
        found.append(
            f"no rule for {', '.join(slow[:3])}: their calls are made again sample by sample, slowly"
        )
    if read is not None and read.censored:
        found.append(
            f"the smallest singular value lies at the rounding floor: c is {read.cond:.3g} or more; "
            "precision='float64' lowers the floor"
        )
    if record.batch_size == 1:
        found.append("a batch of one sample has no spectrum to speak of: c is 1 and the noise scale unknown")
    return found + record.notes


def remarks_of(model: nn.Module) -> list[str]:
    """What might worry a user and need not."""
    found = []
    if any(isinstance(m, _DROPOUT) and m.training and m.p > 0 for m in model.modules()):
        found.append("dropout is on, which is fine: columns are those of the masks that were drawn")
    frozen = [p.numel() for p in model.parameters() if not p.requires_grad]
    if frozen:
        found.append(f"{sum(frozen):,} numbers of {len(frozen)} frozen parameters take no part")
    return found


def neutral(subject: Subject, batch: Any) -> str:
    """Whether a measured step leaves gradients, buffers and random state as a plain one does; a sentence."""
    first = subject.make()
    plain = [_after(subject, copy.deepcopy(first), batch, measured=False) for _ in range(2)]
    measured = _after(subject, copy.deepcopy(first), batch, measured=True)
    if not _alike(plain[0], plain[1]):
        return "two plain steps differ already (a kernel that is not deterministic), so this can't be told"
    if _alike(plain[0], measured):
        return "bit for bit as unmeasured: gradients, buffers, random state"
    return "NOT as unmeasured: gradients, buffers or random state differ; please report this"


def _after(subject: Subject, model: nn.Module, batch: Any, measured: bool) -> list[torch.Tensor]:
    with same_draws():
        if measured:
            with record_gram(model, **{**subject.options, "strict": False}):
                subject.loss(model, batch).backward()
        else:
            subject.loss(model, batch).backward()
        grads = [torch.zeros(()) if p.grad is None else p.grad.to_dense() for p in model.parameters()]
        drawn = RandomState.capture()
        parameters = (parameter.detach() for parameter in model.parameters())
        return [*grads, *model.buffers(), *parameters, drawn.cpu, *drawn.cuda]


def _alike(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def _uncovered(record: GramRecord) -> str:
    left = [row for row in record.coverage if row.rule == "left out"]
    count = sum(row.count for row in left)
    if not left:
        return ""
    return (
        f"{count:,} numbers of {len(left)} parameters can't be split by sample (see below) and are left out; "
        "semantics='per_loss' measures them too, with one backward pass a sample"
    )


def _ungraded(record: GramRecord) -> str:
    none = [row.parameter for row in record.coverage if row.rule == "no gradient"]
    names = ", ".join(none[:3]) + (", …" if len(none) > 3 else "")
    return f"{len(none)} parameters received no gradient in this step: {names}" if none else ""


def _status(record: GramRecord) -> str:
    return "" if record.status == "ok" or record.status.startswith("partial") else record.status
