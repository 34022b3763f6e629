"""Each sample's share of the gradient by the rows of the model's output, all others masked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fisherscope.model_state import same_buffers, same_draws
from fisherscope.verification.reference import UncheckableError, output_tensors


def output_columns(
    model: nn.Module, loss: Callable[[nn.Module, Any], Tensor], batch: Any, samples: int
) -> Tensor:
    """Differentiate each sample's share of the loss's gradient by its output rows.

    Args:
        model: A copy that may be changed.
        loss: (model, batch) → scalar.
        batch: n samples.
        samples: n.

    Returns:
        (n, p), over the trainable parameters in order.

    Raises:
        UncheckableError: BatchNorm couples the samples, or the output does not have one row a sample.

    Cost: n + 2 backward passes.
    """
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training for m in model.modules()):
        raise UncheckableError("BatchNorm couples the samples")
    calls: list[list[Tensor]] = []
    handle = model.register_forward_hook(lambda *seen: calls.append(output_tensors(seen[2])))
    try:
        with same_buffers(model), same_draws():
            value = loss(model, batch)
    finally:
        handle.remove()
    rows = [t for t in (calls[0] if len(calls) == 1 else []) if t.requires_grad and t.shape[:1] == (samples,)]
    if not rows:
        raise UncheckableError("the loss does not call the model once for an output of one row a sample")
    leaves: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
    arriving = torch.autograd.grad(value, rows, retain_graph=True, allow_unused=True)
    used = [(row, gradient) for row, gradient in zip(rows, arriving, strict=True) if gradient is not None]
    columns = []
    for sample in range(samples):
        masked = [torch.zeros_like(gradient) for _, gradient in used]
        for zero, (_, gradient) in zip(masked, used, strict=True):
            zero[sample] = gradient[sample]
        columns.append(_flat_gradient([row for row, _ in used], leaves, masked))
    together = torch.stack(columns)
    whole = _flat_gradient([value], leaves, None)
    if not torch.allclose(together.sum(0), whole, rtol=1e-4, atol=1e-6 * float(whole.abs().max())):
        raise UncheckableError("the loss reaches parameters on other ways than by the model's output")
    return together


def _flat_gradient(outputs: list[Tensor], leaves: list[Tensor], cotangents: list[Tensor] | None) -> Tensor:
    grads = torch.autograd.grad(outputs, leaves, cotangents, retain_graph=True, allow_unused=True)
    flat = [torch.zeros_like(p) if g is None else g for p, g in zip(leaves, grads, strict=True)]
    return torch.cat([g.to_dense().flatten() if g.is_sparse else g.flatten() for g in flat])
