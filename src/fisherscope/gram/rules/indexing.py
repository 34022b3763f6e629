"""A parameter written into some places of a tensor: `x[places] = w`."""

from __future__ import annotations

import torch
from torch import Tensor

from fisherscope.gram.columns import Columns, Dense
from fisherscope.gram.rules.registry import Call, Rule, UnsuitedError, register


def setitem(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """value, broadcast into x[places]: the gradient there, added up by the sample of each place."""
    if "value" not in call.parameters:
        raise UnsuitedError("the parameter is written into, or is the index")
    value, places = call.parameters["value"], call.values["index"]
    shape = [1] * gradient.dim()
    shape[call.grouping.dim] = gradient.shape[call.grouping.dim]
    rows = torch.arange(gradient.shape[call.grouping.dim], device=gradient.device)
    split = call.grouping.moved(0).samples_first(rows)  # (n, k) rows of a sample
    sample_of_row = torch.empty_like(rows)
    sample_of_row[split.flatten()] = torch.arange(len(split), device=rows.device).repeat_interleave(
        split.shape[1]
    )
    sample_of = sample_of_row.reshape(shape).expand(gradient.shape)[places]
    d = gradient[places]
    kept = value.numel()
    aligned = (1,) * (d.dim() - value.dim()) + tuple(value.shape)
    slot = torch.arange(kept, device=d.device).reshape(aligned).expand(d.shape)
    out = torch.zeros(call.samples * kept, dtype=d.dtype, device=d.device)
    out.index_add_(0, (sample_of * kept + slot).flatten(), d.flatten())
    return {"value": Dense(out.reshape(call.samples, kept), value.shape)}


register("setitem", Rule("assignment", setitem, ("input", "index", "value")))
