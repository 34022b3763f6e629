"""Scale and shift of batch, layer, group, instance and RMS normalisation."""

from __future__ import annotations

import torch
from torch import Tensor

from fisherscope.gram.columns import Columns, Dense
from fisherscope.gram.interception.torch_private import (
    has_saved_tensor_hooks,
    saved_batch_statistics,
    saved_layer_statistics,
)
from fisherscope.gram.rules.registry import Call, Rule, UnsuitedError, register

_FEW_DEVIATIONS = 4.0
_KEEP_STATISTICS = ("NativeBatchNormBackward0", "CudnnBatchNormBackward0")


def _per_channel(call: Call, gradient: Tensor, x: Tensor, mean: Tensor, scale: Tensor) -> dict[str, Columns]:
    """Form weight (c,): Σ d·(x − mean)·scale and bias (c,): Σ d, channels in dimension 1.

    Args:
        call: Whose output `gradient` belongs to.
        gradient: (n·k, c, *space).
        x: The same shape.
        mean: (c,) or (n·k, c).
        scale: As `mean`.

    Returns:
        Columns by argument name.
    """
    if call.grouping.dim != 0 or call.grouping.lead > 1:
        raise UnsuitedError("the samples do not lie along dimension 0")
    dots, sums = _sums(gradient, x, bool("weight" in call.parameters))
    columns: dict[str, Columns] = {}
    if "weight" in call.parameters:
        share = (
            (dots - sums * mean) * scale if _close(mean, scale) else _centred_dots(gradient, x, mean, scale)
        )
        columns["weight"] = Dense(call.split(share).sum(1), call.parameters["weight"].shape)
    if "bias" in call.parameters:
        columns["bias"] = Dense(call.split(sums).sum(1), call.parameters["bias"].shape)
    return columns


def _close(mean: Tensor, scale: Tensor) -> bool:
    """Tell whether means are few deviations: subtracting them from sums loses no digits."""
    return not mean.is_cuda and float((mean * scale).abs().max()) < _FEW_DEVIATIONS


def _sums(d: Tensor, x: Tensor, both: bool) -> tuple[Tensor, Tensor]:
    """(Σ d·x, Σ d) over space, each (n, c).

    Where both are needed the backend's group-normalisation kernel forms them in one pass: with mean 0 and
    scale 1, the gradients of its scale and shift, one channel for each sample's.

    Returns:
        The two sums; None where not needed.
    """
    rows, space = d.shape[0] * d.shape[1], d[0, 0].numel()
    if space == 1 or not both or d.dtype not in (torch.float32, torch.float64) or d.dtype != x.dtype:
        sums = d.flatten(2).sum(2) if d.dim() > 2 else d
        return (d * x).flatten(2).sum(2) if d.dim() > 2 else d * x, sums
    zero, one = d.new_zeros(1, 1), d.new_ones(1, 1)
    _, dots, sums = torch.ops.aten.native_group_norm_backward(
        d.contiguous(), x.contiguous(), zero, one, d.new_ones(rows), 1, rows, space, 1, [False, True, True]
    )
    return dots.reshape(d.shape[:2]), sums.reshape(d.shape[:2])


def _centred_dots(d: Tensor, x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    shape = (*mean.shape, *(1,) * (x.dim() - 2))
    dots, _ = _sums(d, x - mean.reshape(shape).to(x.dtype), both=True)
    return dots * scale


def save_statistics(call: Call, out: Tensor) -> None:
    """Save the batch's mean and 1/deviation from the call's own graph node.

    Not where saved tensors are packed by hooks (checkpointing): to look at them would unpack them.
    """
    node = out.grad_fn
    if (
        call.get("training", False)
        and not has_saved_tensor_hooks()
        and type(node).__name__ in _KEEP_STATISTICS
    ):
        call.saved_by_rule = saved_batch_statistics(node)


def batch_norm(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """x̂ from the batch's own statistics where the call used them, else from the running ones."""
    x = call.input("input", gradient)
    if call.saved_by_rule:
        mean, scale = call.saved_by_rule
    elif call.get("training", False):
        variance, mean = torch.var_mean(x, [axis for axis in range(x.dim()) if axis != 1], correction=0)
        scale = torch.rsqrt(variance + call.get("eps", 1e-5))
    else:
        mean = call.values["running_mean"]
        scale = torch.rsqrt(call.values["running_var"] + call.get("eps", 1e-5))
    return _per_channel(call, gradient, x, mean.to(x.dtype), scale.to(x.dtype))


def group_norm(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """x̂ from each sample's groups of channels."""
    x = call.input("input", gradient)
    groups = int(call.values["num_groups"])
    mean, scale = _moments(x.reshape(x.shape[0], groups, -1), call.get("eps", 1e-5))
    width = x.shape[1] // groups
    return _per_channel(
        call, gradient, x, mean.repeat_interleave(width, 1), scale.repeat_interleave(width, 1)
    )


def instance_norm(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """x̂ from each sample's channels, or from running statistics."""
    x = call.input("input", gradient)
    eps = call.get("eps", 1e-5)
    if call.get("use_input_stats", True):
        return _per_channel(call, gradient, x, *_moments(x.flatten(2), eps))
    mean, variance = call.values["running_mean"], call.values["running_var"]
    return _per_channel(call, gradient, x, mean.to(x.dtype), torch.rsqrt(variance + eps).to(x.dtype))


def _moments(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Mean and 1/deviation over the last dimension."""
    variance, mean = torch.var_mean(x, -1, correction=0)
    return mean, torch.rsqrt(variance + eps)


def _standardise(x: Tensor, eps: float) -> Tensor:
    variance, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + eps)


def save_layer_statistics(call: Call, out: Tensor) -> None:
    """Save the mean and 1/deviation of each position from the call's own graph node, as for batch norm."""
    if "weight" in call.parameters and not has_saved_tensor_hooks():
        node = out.grad_fn
        if type(node).__name__ == "NativeLayerNormBackward0":
            call.saved_by_rule = saved_layer_statistics(node)


def layer_norm(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """x̂ over the trailing dimensions `normalized_shape`; all others are positions."""
    if not call.saved_by_rule:
        return _trailing(call, gradient, _centred_rows)
    mean, scale = (call.split(one).flatten(1).unsqueeze(2) for one in call.saved_by_rule)
    return _trailing(call, gradient, lambda x, _: (x - mean.to(x.dtype)).mul_(scale.to(x.dtype)))


def rms_norm(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """x / sqrt(mean x² + eps) over the trailing dimensions."""
    return _trailing(call, gradient, _scaled_rows)


def _centred_rows(x: Tensor, eps: float | None) -> Tensor:
    return _standardise(x, 1e-5 if eps is None else eps)


def _scaled_rows(x: Tensor, eps: float | None) -> Tensor:
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


def _trailing(call: Call, gradient: Tensor, normalise) -> dict[str, Columns]:  # type: ignore[no-untyped-def]
    trailing = len(call.values["normalized_shape"])
    if call.grouping.dim >= gradient.dim() - trailing or call.grouping.lead > gradient.dim() - trailing:
        raise UnsuitedError("the samples lie along the normalised dimensions")
    d = call.split(gradient)
    d = d.reshape(d.shape[0], -1, gradient.shape[-trailing:].numel())  # (n, t, p)
    columns: dict[str, Columns] = {}
    if "weight" in call.parameters:
        x = call.split(call.input("input", gradient)).reshape(d.shape)
        columns["weight"] = Dense(
            normalise(x, call.get("eps")).mul_(d).sum(1), call.parameters["weight"].shape
        )
    if "bias" in call.parameters:
        columns["bias"] = Dense(d.sum(1), call.parameters["bias"].shape)
    return columns


_BATCH_NORM = "input weight bias running_mean running_var training momentum eps cudnn_enabled"
_INSTANCE_NORM = "input weight bias running_mean running_var use_input_stats momentum eps cudnn"
register("batch_norm", Rule("batch norm", batch_norm, tuple(_BATCH_NORM.split()), after_call=save_statistics))
register("instance_norm", Rule("instance norm", instance_norm, tuple(_INSTANCE_NORM.split())))
register("group_norm", Rule("group norm", group_norm, ("input", "num_groups", "weight", "bias", "eps")))
_LAYER_NORM = Rule(
    "layer norm",
    layer_norm,
    ("input", "normalized_shape", "weight", "bias", "eps"),
    after_call=save_layer_statistics,
)
register("layer_norm", _LAYER_NORM)
register("rms_norm", Rule("RMS norm", rms_norm, ("input", "normalized_shape", "weight", "eps")))
