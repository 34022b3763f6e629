"""Each sample's share of the gradient by the rows of the model's output, all others masked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fisherscope.gram.batch_axis.given_rows import SampleRows
from fisherscope.gram.identity.tangents import element_samples
from fisherscope.gram.options import SampleOf
from fisherscope.model_state import same_buffers, same_draws
from fisherscope.verification.reference import UncheckableError, output_tensors

_Seen = tuple[Any, Any, Any]
"""(args, kwargs, output) of a call of the model."""


def output_columns(
    model: nn.Module,
    loss: Callable[[nn.Module, Any], Tensor],
    batch: Any,
    samples: int,
    sample_of: SampleOf = None,
) -> Tensor:
    """Differentiate each sample's share of the loss's gradient by its output rows.

    Args:
        model: A copy that may be changed.
        loss: (model, batch) → scalar.
        batch: n samples.
        samples: n.
        sample_of: The sample of each row, where rows are not samples.

    Returns:
        (n, p), over the trainable parameters in order.

    Raises:
        UncheckableError: BatchNorm couples the samples, or the outputs' rows are not those of the samples.

    Cost: n + 2 backward passes.
    """
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training for m in model.modules()):
        raise UncheckableError("BatchNorm couples the samples")
    calls: list[_Seen] = []
    handle = model.register_forward_hook(lambda _, *seen: calls.append(seen), with_kwargs=True)
    try:
        with same_buffers(model), same_draws():
            value = loss(model, batch)
    finally:
        handle.remove()
    rows = _rows(calls, samples) if sample_of is None else _given_rows(calls, SampleRows(sample_of))
    if not rows:
        raise UncheckableError("the loss does not call the model for outputs of one row a sample")
    leaves: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
    outputs = [tensor for tensor, _ in rows]
    arriving = torch.autograd.grad(value, outputs, retain_graph=True, allow_unused=True)
    used = [(*row, gradient) for row, gradient in zip(rows, arriving, strict=True) if gradient is not None]
    columns = []
    for sample in range(samples):
        masked = [gradient * (ids == sample).to(gradient) for _, ids, gradient in used]
        columns.append(_flat_gradient([tensor for tensor, _, _ in used], leaves, masked))
    together = torch.stack(columns)
    whole = _flat_gradient([value], leaves, None)
    if not torch.allclose(together.sum(0), whole, rtol=1e-4, atol=1e-6 * float(whole.abs().max())):
        raise UncheckableError("the loss reaches parameters on other ways than by the model's output")
    return together


def _rows(calls: list[_Seen], samples: int) -> list[tuple[Tensor, Tensor]]:
    """List outputs of one row a sample: of calls on the whole batch, or on its parts in turn."""
    gradients = [
        [t for t in output_tensors(out) if t.requires_grad and t.dim() and t.shape[0] == len(own[0])]
        for _, _, out in calls
        if (own := [t for t in output_tensors(out) if t.requires_grad and t.dim()])
    ]
    lengths = [len(tensors[0]) for tensors in gradients]
    if not lengths or (any(length != samples for length in lengths) and sum(lengths) != samples):
        return []
    rows, start = [], 0
    for tensors, length in zip(gradients, lengths, strict=True):
        rows += [(t, _along(start + torch.arange(length), t)) for t in tensors]
        start = 0 if length == samples else start + length
    return rows


def _given_rows(calls: list[_Seen], given: SampleRows) -> list[tuple[Tensor, Tensor]]:
    """List outputs whose rows' samples are given."""
    rows = []
    for args, kwargs, out in calls:
        own = given.of_forward(args, kwargs)
        assert own is not None, "sample_of was given"
        for tensor in output_tensors(out):
            grouping = own.find(tensor.shape) if tensor.requires_grad and tensor.dim() else None
            if grouping is not None:
                positions = element_samples(tensor, grouping)
                rows.append((tensor, torch.where(positions >= 0, own.samples[positions.clamp_min(0)], -1)))
    return rows


def _along(ids: Tensor, tensor: Tensor) -> Tensor:
    return ids.reshape(-1, *(1,) * (tensor.dim() - 1))


def _flat_gradient(outputs: list[Tensor], leaves: list[Tensor], cotangents: list[Tensor] | None) -> Tensor:
    grads = torch.autograd.grad(outputs, leaves, cotangents, retain_graph=True, allow_unused=True)
    flat = [torch.zeros_like(p) if g is None else g for p, g in zip(leaves, grads, strict=True)]
    return torch.cat([g.to_dense().flatten() if g.is_sparse else g.flatten() for g in flat])
