"""Dense per-sample gradients the slow way, in float64, sharing no code with the package.

Two routes: a loop over samples (models that treat samples apart), and for BatchNorm in training mode every
layer run with one copy of its parameters for each sample, so that a copy's gradient is that sample's share.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def gram_of(columns: Tensor) -> Tensor:
    """(n, p) float64 → (n, n)."""
    return columns.double() @ columns.double().T


def columns_by_loop(model: nn.Module, loss_of: Callable[[nn.Module, int], Tensor], samples: int) -> Tensor:
    """∇ℓ_i one after another: `loss_of(model, i)` is sample i's loss alone; (n, p) float64."""
    rows = []
    for sample in range(samples):
        twin = copy.deepcopy(model).double()
        parameters = [p for p in twin.parameters() if p.requires_grad]
        grads = torch.autograd.grad(loss_of(twin, sample), parameters, allow_unused=True)
        flat = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, grads, strict=True)]
        rows.append(torch.cat([g.flatten() for g in flat]))
    return torch.stack(rows)


def columns_by_copies(model: nn.Module, loss_of: Callable[[nn.Module], Tensor], samples: int) -> Tensor:
    """n × each sample's share of the batch-mean loss's gradient, through BatchNorm; (n, p) float64.

    Layers known: Linear, ConvNd, BatchNormNd; every parameter must belong to one of them.
    """
    twin = copy.deepcopy(model).double()
    copies: dict[int, Tensor] = {}
    for parameter in twin.parameters():
        copies[id(parameter)] = parameter.detach().expand(samples, *parameter.shape).clone().requires_grad_()
    for module in twin.modules():
        own = {name: copies[id(p)] for name, p in module.named_parameters(recurse=False)}
        if own:
            module.forward = _forward(module, own)  # type: ignore[method-assign]
    trainable = [p for p in twin.parameters() if p.requires_grad]
    grads = torch.autograd.grad(loss_of(twin), [copies[id(p)] for p in trainable])
    return torch.cat([g.reshape(samples, -1) for g in grads], 1) * samples


def _forward(module: nn.Module, own: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
    if isinstance(module, nn.Linear):
        function = F.linear
    elif isinstance(module, nn.modules.conv._ConvNd):
        function = module._conv_forward
    elif isinstance(module, nn.modules.batchnorm._BatchNorm):
        return lambda x: _batch_norm(module, own, x)
    else:
        raise NotImplementedError(f"no oracle for {type(module).__name__}")
    bias = own.get("bias")
    return lambda x: torch.cat(
        [function(x[i : i + 1], own["weight"][i], None if bias is None else bias[i]) for i in range(len(x))]
    )


def _batch_norm(module: nn.Module, own: dict[str, Tensor], x: Tensor) -> Tensor:
    if module.training:
        plain = F.batch_norm(x, None, None, training=True, eps=module.eps)
    else:
        plain = F.batch_norm(x, module.running_mean, module.running_var, training=False, eps=module.eps)
    shape = (*own["weight"].shape, *(1,) * (x.dim() - 2))
    return plain * own["weight"].reshape(shape) + own["bias"].reshape(shape)
