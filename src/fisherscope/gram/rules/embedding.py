"""Tables read by index: embedding, embedding bag, index_select."""

from __future__ import annotations

import torch
from torch import Tensor

from fisherscope.gram.columns import Columns, SparseRows
from fisherscope.gram.grouping import rows_grouping
from fisherscope.gram.rules.registry import Call, Rule, UnsuitedError, register


def embedding(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """weight (v, q): row index[n, t] receives d[n, t, :]; the padding index receives nothing."""
    if "weight" not in call.parameters or call.get("scale_grad_by_freq", False):
        raise UnsuitedError("gradients scaled by frequency mix the samples")
    d = call.split(gradient)
    d = d.reshape(d.shape[0], -1, gradient.shape[-1])
    index = call.split(call.values["indices"]).reshape(d.shape[:2])
    padding = call.get("padding_idx", -1)
    if padding is not None and padding >= 0:
        index = torch.where(index == padding, -1, index)
    return {"weight": SparseRows(index, d, call.parameters["weight"].shape)}


def embedding_bag(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """Form the columns of sums or means of table rows over bags, which `offsets` start."""
    if "per_sample_weights" in call.parameters or int(call.get("mode", 0)) == 2:
        raise UnsuitedError("maxima and learned weights are replayed")
    indices, offsets = call.values["indices"], call.values["offsets"]
    ends = torch.cat([offsets[1:], offsets.new_tensor([len(indices)])])
    if call.get("include_last_offset", False):
        ends, offsets = offsets[1:], offsets[:-1]
    sizes = ends - offsets
    bag_of = torch.repeat_interleave(torch.arange(len(sizes), device=sizes.device), sizes)
    weight = call.get("per_sample_weights")
    values = gradient[bag_of] * (1 if weight is None else weight.unsqueeze(-1))
    padding = call.get("padding_idx", -1)
    if int(call.get("mode", 0)) == 1:
        counted = torch.bincount(bag_of[indices != padding], minlength=len(sizes)).clamp_min(1)
        values = values / counted[bag_of].unsqueeze(-1).to(values.dtype)
    sample_of_bag = call.grouping.sample_of(len(sizes)).to(sizes.device)
    grouping = rows_grouping(sample_of_bag[bag_of], samples=call.samples)
    index = torch.where(indices == padding, -1, indices) if padding is not None and padding >= 0 else indices
    grouped = grouping.samples_first(index)
    assert grouping.real is not None
    grouped = torch.where(grouping.real.to(grouped.device) > 0, grouped, -1)
    return {"weight": SparseRows(grouped, grouping.samples_first(values), call.parameters["weight"].shape)}


def index_select(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """table.index_select(0, index): an embedding of a flat index."""
    if "input" not in call.parameters or int(call.values["dim"]) != 0:
        raise UnsuitedError("rows are selected along another dimension")
    split = call.split(gradient)
    d = split.reshape(split.shape[0], split.shape[1], -1)
    index = call.split(call.values["index"]).reshape(d.shape[:2])
    return {"input": SparseRows(index, d, call.parameters["input"].shape)}


register(
    "embedding",
    Rule("embedding", embedding, ("weight", "indices", "padding_idx", "scale_grad_by_freq", "sparse")),
)
register(
    "embedding_bag",
    Rule(
        "embedding bag",
        embedding_bag,
        ("weight", "indices", "offsets", "scale_grad_by_freq", "mode", "sparse", "per_sample_weights",
         "include_last_offset", "padding_idx"),
    ),
)  # fmt: skip
register("index_select", Rule("index", index_select, ("input", "dim", "index")))
