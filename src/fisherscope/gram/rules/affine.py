"""linear, addmm, matmul: y = x Wᵀ + b, any number of positions a sample.

a is the input by sample and position, (n, t, i); d is the gradient of the output, (n, t, o).
"""

from __future__ import annotations

import torch
from torch import Tensor

from fisherscope.gram.columns import BiasColumns, Columns, Dense, Outer
from fisherscope.gram.rules.registry import Call, Rule, UnsuitedError, register


def positions(call: Call, tensor: Tensor) -> Tensor:
    """Rows of features by sample and position: (…, i) → (n, t, i)."""
    if call.grouping.dim >= tensor.dim() - 1 or call.grouping.lead >= tensor.dim():
        raise UnsuitedError("the samples lie along the features")
    split = call.split(tensor)
    return split if split.dim() == 3 else split.reshape(split.shape[0], -1, tensor.shape[-1])


def linear(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """weight (o, i): Σ_t d[n,t,:] a[n,t,:]ᵀ; bias (o,): Σ_t d[n,t,:]."""
    d = positions(call, gradient)
    columns: dict[str, Columns] = {}
    if "weight" in call.parameters:
        a = positions(call, call.input("input", gradient))
        columns["weight"] = Outer(d, a, call.parameters["weight"].shape)
    if "bias" in call.parameters:
        columns["bias"] = _bias(columns.get("weight"), d, call.parameters["bias"].shape)
    return columns


def _bias(weight: Columns | None, d: Tensor, shape: torch.Size) -> Columns:
    return BiasColumns(weight, shape) if isinstance(weight, Outer) else Dense(d.sum(1), shape)


def addmm(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """beta·input + alpha·mat1 @ mat2, the parameter in mat2 (i, o) and/or input (o,)."""
    if "mat1" in call.parameters:
        raise UnsuitedError("the parameter is the left factor")
    d = positions(call, gradient)
    columns: dict[str, Columns] = {}
    if "mat2" in call.parameters:
        a = positions(call, call.input("mat1", gradient)) * call.get("alpha", 1)
        columns["mat2"] = Outer(a, d, call.parameters["mat2"].shape)
    if "input" in call.parameters:
        if call.parameters["input"].dim() != 1:
            raise UnsuitedError("the added parameter is not a row")
        columns["input"] = Dense(d.sum(1) * call.get("beta", 1), call.parameters["input"].shape)
    return columns


def matmul(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """x @ W with W (i, o), or W @ x with W (o, i) and the samples in x."""
    left, right = call.parameters.get("input"), call.parameters.get("other")
    if right is not None and left is None and right.dim() == 2 and call.values["input"].dim() >= 2:
        d = positions(call, gradient)
        return {"other": Outer(positions(call, call.input("input", gradient)), d, right.shape)}
    if left is not None and right is None and left.dim() == 2 and call.values["other"].dim() >= 2:
        return {"input": _left_factor(call, gradient, left)}
    raise UnsuitedError("neither factor is a parameter matrix")


def _left_factor(call: Call, gradient: Tensor, weight: Tensor) -> Columns:
    """W @ x = (xᵀ Wᵀ)ᵀ: the last two dimensions change places."""
    other = call.input("other", gradient)
    last = gradient.dim() - 1
    transposed_dim = {last: last - 1, last - 1: last}.get(call.grouping.dim, call.grouping.dim)
    if transposed_dim == last or call.grouping.lead > 1:
        raise UnsuitedError("the samples lie along the features")
    grouping = call.grouping.along(transposed_dim)
    d, a = grouping.samples_first(gradient.mT), grouping.samples_first(other.mT)
    n = d.shape[0]
    return Outer(d.reshape(n, -1, weight.shape[0]), a.reshape(n, -1, weight.shape[1]), weight.shape)


def bilinear(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """y[o] = x1ᵀ W[o] x2 + b[o], W (o, i, j): an outer product of d with x1 ⊗ x2."""
    d = positions(call, gradient)
    columns: dict[str, Columns] = {}
    if "weight" in call.parameters:
        x1, x2 = (positions(call, call.input(name, gradient)) for name in ("input1", "input2"))
        pairs = torch.einsum("nti,ntj->ntij", x1, x2).flatten(2)
        columns["weight"] = Outer(d, pairs, call.parameters["weight"].shape)
    if "bias" in call.parameters:
        columns["bias"] = Dense(d.sum(1), call.parameters["bias"].shape)
    return columns


LINEAR = Rule("affine", linear, ("input", "weight", "bias"))
register("linear", LINEAR)
register("addmm", Rule("affine", addmm, ("input", "mat1", "mat2")))
register("matmul", Rule("affine", matmul, ("input", "other")))
register("bilinear", Rule("bilinear", bilinear, ("input1", "input2", "weight", "bias")))
