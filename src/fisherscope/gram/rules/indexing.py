"""A parameter written into some places of a tensor: `x[places] = w`."""

from __future__ import annotations

import torch
from torch import Tensor

from fisherscope.gram.columns import Columns, Dense
from fisherscope.gram.rules.registry import Call, Rule, UnsuitedError, register


def setitem(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """Form the columns of a value broadcast into x[places], by the sample of each place."""
    if "value" not in call.parameters:
        raise UnsuitedError("the parameter is written into, or is the index")
    value, places = call.parameters["value"], call.values["index"]
    shape = [1] * gradient.dim()
    shape[call.grouping.dim] = gradient.shape[call.grouping.dim]
    if call.grouping.lead > 1:
        raise UnsuitedError("the samples lie along several dimensions")
    sample_of_row = call.grouping.sample_of(gradient.shape[call.grouping.dim]).to(gradient.device)
    sample_of = sample_of_row.reshape(shape).expand(gradient.shape)[places]
    if bool((sample_of < 0).any()):
        raise UnsuitedError("it writes into rows of no sample")
    d = gradient[places]
    numel = value.numel()
    aligned = (1,) * (d.dim() - value.dim()) + tuple(value.shape)
    slot = torch.arange(numel, device=d.device).reshape(aligned).expand(d.shape)
    out = torch.zeros(call.samples * numel, dtype=d.dtype, device=d.device)
    out.index_add_(0, (sample_of * numel + slot).flatten(), d.flatten())
    return {"value": Dense(out.reshape(call.samples, numel), value.shape)}


register("setitem", Rule("assignment", setitem, ("input", "index", "value")))
