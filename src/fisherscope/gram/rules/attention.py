"""Scaled dot-product attention whose additive mask is made of parameters (relative position bias)."""

from __future__ import annotations

import torch
from torch import Tensor

from fisherscope.gram.columns import Columns
from fisherscope.gram.rules.elementwise import reduce_to_parameter
from fisherscope.gram.rules.registry import Call, Rule, UnsuitedError, register
from fisherscope.gram.rules.replay import run_again


def masked_attention(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """Differentiate the call by attn_mask (…, t, u), expanded to all samples.

    Returns:
        Columns of the mask.
    """
    if set(call.parameters) != {"attn_mask"}:
        raise UnsuitedError("a query, key or value made of parameters alone")
    mask, query, key = call.parameters["attn_mask"], call.values["query"], call.values["key"]
    scores = torch.Size((*call.out_shape[:-1], key.shape[-2]))
    wide = mask.detach().expand(scores).clone().requires_grad_()
    (share,) = torch.autograd.grad(run_again(call, {"attn_mask": wide}), wide, gradient.to(query.dtype))
    return {"attn_mask": reduce_to_parameter(call, share, mask.shape)}


register(
    "scaled_dot_product_attention",
    Rule(
        "attention mask",
        masked_attention,
        ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa"),
        draws=True,
    ),
)
