"""Scale and shift of batch, layer, group, instance and RMS normalisation."""

from __future__ import annotations

import torch
from torch import Tensor

from fisherscope.gram.columns import Columns, Dense
from fisherscope.gram.rules import Call, Rule, UnsuitedError, register


def _per_channel(call: Call, gradient: Tensor, normalised: Tensor) -> dict[str, Columns]:
    """weight (c,): Σ d·x̂, bias (c,): Σ d, over all positions of a sample; channels in dimension 1."""
    if call.grouping.dim != 0:
        raise UnsuitedError("the samples do not lie along dimension 0")
    d = call.split(gradient).flatten(3) if gradient.dim() > 2 else call.split(gradient).unsqueeze(-1)
    columns: dict[str, Columns] = {}
    if "weight" in call.parameters:
        x = call.split(normalised).reshape(d.shape)
        columns["weight"] = Dense(_dots(d, x).sum(1), call.parameters["weight"].shape)
    if "bias" in call.parameters:
        columns["bias"] = Dense(d.sum((1, 3)), call.parameters["bias"].shape)
    return columns


def _dots(a: Tensor, b: Tensor) -> Tensor:
    """Σ over the last dimension of a·b, without a temporary of their size where that pays."""
    if a.shape[-1] == 1:
        return (a * b).squeeze(-1)
    pairs = torch.bmm(a.reshape(-1, 1, a.shape[-1]), b.reshape(-1, a.shape[-1], 1))
    return pairs.reshape(a.shape[:-1])


def batch_norm(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """x̂ from the batch's own statistics where the call used them, else from the running ones."""
    x = call.input("input", gradient)
    axes = [axis for axis in range(x.dim()) if axis != 1]
    shape = [1, -1] + [1] * (x.dim() - 2)
    if call.get("training", False):
        variance, mean = torch.var_mean(x, axes, correction=0)
    else:
        mean, variance = call.values["running_mean"], call.values["running_var"]
    scale = torch.rsqrt(variance + call.get("eps", 1e-5))
    columns = _per_channel(call, gradient, x - mean.to(x.dtype).reshape(shape))
    if "weight" in columns:
        weight = columns["weight"]
        assert isinstance(weight, Dense)
        columns["weight"] = Dense(weight.gradients * scale.to(x.dtype), weight.shape)
    return columns


def group_norm(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """x̂ from each sample's groups of channels."""
    x = call.input("input", gradient)
    groups = x.reshape(x.shape[0], int(call.values["num_groups"]), -1)
    return _per_channel(call, gradient, _standardised(groups, call.get("eps", 1e-5)).reshape(x.shape))


def instance_norm(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """x̂ from each sample's channels, or from running statistics."""
    x = call.input("input", gradient)
    eps = call.get("eps", 1e-5)
    if call.get("use_input_stats", True):
        return _per_channel(call, gradient, _standardised(x.flatten(2), eps).reshape(x.shape))
    shape = [1, -1] + [1] * (x.dim() - 2)
    mean, variance = call.values["running_mean"].reshape(shape), call.values["running_var"].reshape(shape)
    return _per_channel(call, gradient, (x - mean) * torch.rsqrt(variance + eps))


def _standardised(x: Tensor, eps: float) -> Tensor:
    variance, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + eps)


def layer_norm(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """x̂ over the trailing dimensions `normalized_shape`; all others are positions."""
    return _trailing(call, gradient, _centred_rows)


def rms_norm(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """x / sqrt(mean x² + eps) over the trailing dimensions."""
    return _trailing(call, gradient, _scaled_rows)


def _centred_rows(x: Tensor, eps: float | None) -> Tensor:
    return _standardised(x, 1e-5 if eps is None else eps)


def _scaled_rows(x: Tensor, eps: float | None) -> Tensor:
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


def _trailing(call: Call, gradient: Tensor, normalise) -> dict[str, Columns]:  # type: ignore[no-untyped-def]
    trailing = len(call.values["normalized_shape"])
    if call.grouping.dim >= gradient.dim() - trailing:
        raise UnsuitedError("the samples lie along the normalised dimensions")
    d = call.split(gradient)
    d = d.reshape(d.shape[0], -1, gradient.shape[-trailing:].numel())  # (n, t, p)
    columns: dict[str, Columns] = {}
    if "weight" in call.parameters:
        x = call.split(call.input("input", gradient)).reshape(d.shape)
        columns["weight"] = Dense((d * normalise(x, call.get("eps"))).sum(1), call.parameters["weight"].shape)
    if "bias" in call.parameters:
        columns["bias"] = Dense(d.sum(1), call.parameters["bias"].shape)
    return columns


register(
    "batch_norm",
    Rule(
        "batch norm",
        batch_norm,
        (
            "input",
            "weight",
            "bias",
            "running_mean",
            "running_var",
            "training",
            "momentum",
            "eps",
            "cudnn_enabled",
        ),
    ),
)
register(
    "instance_norm",
    Rule(
        "instance norm",
        instance_norm,
        (
            "input",
            "weight",
            "bias",
            "running_mean",
            "running_var",
            "use_input_stats",
            "momentum",
            "eps",
            "cudnn",
        ),
    ),
)
register("group_norm", Rule("group norm", group_norm, ("input", "num_groups", "weight", "bias", "eps")))
register("layer_norm", Rule("layer norm", layer_norm, ("input", "normalized_shape", "weight", "bias", "eps")))
register("rms_norm", Rule("RMS norm", rms_norm, ("input", "normalized_shape", "weight", "eps")))
