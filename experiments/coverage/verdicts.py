"""One family: the oracle, the measurement against it, and whether the measured step was left as it is.

The oracle is a loop over the samples, each alone in a batch of one, and shares nothing with the engine.
"""

from __future__ import annotations

from typing import Any

import torch
from experiments.coverage.families import Batch, Family
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import fisherscope as fs
from fisherscope.gram.errors import GramError

EXACT, SINGLE = 1e-9, 1e-4
"""The largest relative error called exact; and the same for a model that computes in float32 by itself."""
MESSAGE = 120
"""Characters of a message that are kept."""


def examined(family: Family) -> dict[str, Any]:
    """Return a row: verdict, relative error, share covered, grouping, message, neutrality."""
    model, batch = built(family, family.dtype)
    row: dict[str, Any] = {
        "samples": samples(batch), "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad)
    }  # fmt: skip
    columns = alone_columns(family, model, batch)
    row["floor"] = floor(family, model, batch, columns)
    if not row["floor"] < EXACT:
        twice = alone_columns(family, model, batch, copies=2)
        second = floor(family, model, batch, twice)
        if second < row["floor"] / 2:
            columns, row["floor"], row["oracle"] = twice, second, "twice the same sample"
    row |= judged(family, model, batch, columns, row["floor"])
    row["neutral"] = neutral(family)
    return row


def built(family: Family, dtype: torch.dtype) -> tuple[nn.Module, Batch]:
    """Return a family's model and batch, always the same; no parameter is left at zero or one."""
    torch.manual_seed(0)
    model = family.model().to(dtype).train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm | parametrizations._SpectralNorm):
            module.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.15 * torch.randn_like(parameter)
    return model, {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in family.batch().items()
    }


def samples(batch: Batch) -> int:
    """How many samples a batch has."""
    return len(batch["labels"])


def alone_columns(family: Family, model: nn.Module, batch: Batch, copies: int = 1) -> dict[str, Tensor]:
    """Each parameter's (n, numbers) gradients of the samples' losses, each from a batch of its own.

    torch 2.13 misreads some gradients of a batch of one (permuted strides, on the CPU): two copies of the
    sample show the right one.
    """
    names, leaves = zip(*((n, p) for n, p in model.named_parameters() if p.requires_grad), strict=True)
    rows: dict[str, list[Tensor]] = {name: [] for name in names}
    for sample in range(samples(batch)):
        losses = family.losses(model, family.pick(batch, [sample] * copies))
        gradients = torch.autograd.grad(losses[0], leaves, allow_unused=True)
        for name, leaf, gradient in zip(names, leaves, gradients, strict=True):
            found = torch.zeros_like(leaf) if gradient is None else gradient.detach()
            rows[name].append((found.to_dense() if found.is_sparse else found).flatten().double())
    return {name: torch.stack(found) for name, found in rows.items()}


def floor(family: Family, model: nn.Module, batch: Batch, columns: dict[str, Tensor]) -> float:
    """How far the mean of the oracle's columns is from the gradient of an unmeasured step, relative.

    Above float64's rounding, the model computes in float32 inside; far above, the samples act on each other.
    """
    leaves = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(family.losses(model, batch).mean(), leaves, allow_unused=True)
    miss = size = 0.0
    for own, gradient in zip(columns.values(), gradients, strict=True):
        if gradient is not None:
            dense = (gradient.to_dense() if gradient.is_sparse else gradient).flatten().double()
            miss += float((own.mean(0) - dense).square().sum())
            size += float(dense.square().sum())
    return (miss / size) ** 0.5 if size else float("nan")


def measured(family: Family, model: nn.Module, batch: Batch, strict: bool) -> Any:
    """Return the record of one step."""
    with fs.record_gram(model, strict=strict, **family.options) as record:
        family.losses(model, batch).mean().backward()
    return record


def judged(
    family: Family, model: nn.Module, batch: Batch, columns: dict[str, Tensor], floor: float
) -> dict[str, Any]:
    """Verdict, relative error, share covered, grouping and message."""
    if not floor < SINGLE:
        return {"verdict": "coupled", "message": "the samples act on each other: no oracle"}
    message = ""
    try:
        record = measured(family, model, batch, strict=True)
    except GramError as error:
        message = str(error)[:MESSAGE]
        try:
            record = measured(family, model, batch, strict=False)
        except GramError:
            return {"verdict": "refused", "message": message}
    if not record.measured:
        return {"verdict": "refused", "message": message or str(record.status)[:MESSAGE]}
    left_out = {part.parameter for part in record.coverage if not part.measured}
    kept = [own for name, own in columns.items() if name not in left_out]
    expected = sum((own @ own.T for own in kept), torch.zeros_like(record.gram))
    error = float((record.gram - expected).norm() / expected.norm())
    missed = sum(columns[name].numel() for name in left_out if columns[name].any()) / samples(batch)
    total = sum(own.shape[1] for own in columns.values() if own.any())
    row = {
        "error": error, "status": str(record.status)[:MESSAGE], "covered": 1 - missed / total,
        "grouping": getattr(record, "grouping", None), "message": message,
    }  # fmt: skip
    exact = error < max(EXACT, 10 * floor)
    if message:  # left something out
        if "not the step's" in row["status"] or "incomplete" in row["status"]:
            return row | {"verdict": "refused"}
        return row | {"verdict": "partial" if exact else "WRONG"}
    return row | {"verdict": "exact" if exact else "WRONG"}


def neutral(family: Family) -> str:
    """Whether a measured step in float32, with dropout, ends as an unmeasured one; what differs if not."""
    model, batch = built(family, torch.float32)
    twin, _ = built(family, torch.float32)
    for module in (*model.modules(), *twin.modules()):
        if isinstance(module, nn.Dropout):
            module.p = 0.1
    torch.manual_seed(7)
    family.losses(model, batch).mean().backward()
    state = torch.get_rng_state()
    torch.manual_seed(7)
    raised = ""
    try:
        measured(family, twin, batch, strict=False)
    except GramError as error:
        raised = str(error)[:MESSAGE]
    except Exception as error:  # noqa: BLE001  (the model fails where it did not)
        return f"the model raises {type(error).__name__}: {error}"[:MESSAGE]
    differ = ["random state"] if not torch.equal(state, torch.get_rng_state()) else []
    for (name, mine), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        if not same(mine.grad, other.grad):
            differ.append(f"gradient of {name}")
    for (name, mine), other in zip(model.named_buffers(), twin.buffers(), strict=True):
        if not same(mine, other):
            differ.append(f"buffer {name}")
    if raised and differ:
        return f"not compared: {raised}"
    return ", ".join(differ[:3]) + (f" and {len(differ) - 3} more" if len(differ) > 3 else "") or "yes"


def same(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether two tensors are the same bit for bit."""
    if one is None or other is None:
        return one is other
    if one.is_sparse:
        one, other = one.to_dense(), other.to_dense()
    return (
        one.dtype == other.dtype
        and one.contiguous().numpy().tobytes() == other.contiguous().numpy().tobytes()
    )
