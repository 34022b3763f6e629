"""Convolutions of 1 to 3 dimensions, transposed or not, grouped, depthwise, dilated."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fisherscope.gram.columns import Columns, Dense, LazyColumns
from fisherscope.gram.rules.registry import Call, Rule, UnsuitedError, register

SIGNATURE = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")


def convolution(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """Form weight columns by one convolution with samples as groups; bias by Σ positions."""
    return _columns(call, gradient, transposed=False)


def transposed_convolution(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """Form the columns with input and output exchanged."""
    return _columns(call, gradient, transposed=True)


def _columns(call: Call, gradient: Tensor, transposed: bool) -> dict[str, Columns]:
    if call.grouping.dim != 0 or call.grouping.lead > 1:
        raise UnsuitedError("the samples lie along channels or space")
    d = call.split(gradient)  # (n, k, o, *space)
    columns: dict[str, Columns] = {}
    if "weight" in call.parameters:
        weight = call.parameters["weight"]
        x = call.split(_pad_input(call, weight, call.input("input", gradient)))
        space = weight.dim() - 2
        settings = {
            name: _spread(call.get(name, default), space)
            for name, default in [("stride", 1), ("dilation", 1), ("output_padding", 0)]
        }
        padding = call.get("padding", 0)
        settings["padding"] = [0] * space if isinstance(padding, str) else _spread(padding, space)
        groups = int(call.get("groups", 1))
        columns["weight"] = _weight_columns(x, d, weight.shape, settings, groups, transposed)
    if "bias" in call.parameters:
        columns["bias"] = Dense(d.flatten(3).sum((1, 3)), call.parameters["bias"].shape)
    return columns


def _spread(value: Any, space: int) -> list[int]:
    return [int(value)] * space if isinstance(value, int) else [int(v) for v in value] * (space // len(value))


def _pad_input(call: Call, weight: Tensor, x: Tensor) -> Tensor:
    """Return the input with string padding made explicit."""
    if call.get("padding", 0) != "same":
        return x
    space = weight.dim() - 2
    dilation = _spread(call.get("dilation", 1), space)
    sides: list[int] = []
    for kernel, step in reversed(list(zip(weight.shape[2:], dilation, strict=True))):
        total = step * (kernel - 1)
        sides += [total // 2, total - total // 2]
    return F.pad(x, sides)


def _weight_columns(
    x: Tensor, d: Tensor, shape: torch.Size, settings: dict[str, list[int]], groups: int, transposed: bool
) -> Columns:
    n, _k = x.shape[:2]
    # The weight's first dimension runs over the output's channels, or the input's where transposed.
    rows_of, whole = (x, d) if transposed else (d, x)
    per_group = shape[0] // groups

    def form(start: int, stop: int, dtype: torch.dtype) -> Tensor:
        first, last = start // per_group, -(-stop // per_group)  # whole groups, then the rows asked for
        begin, end = (first * per_group, last * per_group) if groups > 1 else (start, stop)
        chosen = rows_of[:, :, begin:end]
        width = whole.shape[2] // groups
        other = whole if groups == 1 else whole[:, :, first * width : last * width]
        inputs, outputs = (chosen, other) if transposed else (other, chosen)
        size = (end - begin, *shape[1:])
        gradients = _per_sample(inputs, outputs, size, settings, last - first, transposed, dtype)
        return gradients.reshape(n, end - begin, -1)[:, start - begin : stop - begin]

    positions = (x if transposed else d)[0, :, 0].numel()
    return LazyColumns(form, n, shape, like=d, factors=(x, d), terms=n * positions)


def _per_sample(
    x: Tensor, d: Tensor, size: tuple[int, ...], settings: dict[str, list[int]], groups: int,
    transposed: bool, dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    """(n, *size) weight gradients: each sample's k images are a batch, the samples are groups."""
    n, k = x.shape[:2]
    x, d = (t.to(dtype).transpose(0, 1).reshape(k, n * t.shape[2], *t.shape[3:]) for t in (x, d))
    # The kernel needs a weight only for its shape: memory that is never touched costs nothing, where an
    # expanded value would be made contiguous.
    weight = x.new_empty(n * size[0], *size[1:])
    gradients: Tensor = torch.ops.aten.convolution_backward(
        d, x, weight, None, settings["stride"], settings["padding"], settings["dilation"], transposed,
        settings["output_padding"], n * groups, [False, True, False],
    )[1]  # fmt: skip
    return gradients.reshape(n, *size)


register("conv1d conv2d conv3d", Rule("convolution", convolution, SIGNATURE))
register(
    "conv_transpose1d conv_transpose2d conv_transpose3d",
    Rule("transposed convolution", transposed_convolution, TRANSPOSED),
)
