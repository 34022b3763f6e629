"""What a recorded call leaves behind: its arguments, its results, its parameters' columns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fisherscope.gram.columns import Columns, Dense, Equal, ProductOptions
from fisherscope.gram.errors import NotSplittableError
from fisherscope.gram.interception.provenance import ParameterSource, without_hooks
from fisherscope.gram.rules import Call, Rule, UnsuitedError, rule_of
from fisherscope.gram.rules.replay import gradients_of, run_again


def save_arguments(rule: Rule, values: dict[str, Any], inplace: bool) -> dict[str, Any]:
    """Save a call's arguments as its rule needs them: detached, overwritten ones copied."""
    if not rule.keeps:
        return {name: value for name, value in values.items() if not isinstance(value, Tensor)}
    first = next(iter(values), None)
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Tensor):
            value = value.detach()
            arguments[name] = (
                value.clone() if inplace and name == first and rule.name != "assignment" else value
            )
        elif isinstance(value, list | tuple) and any(isinstance(item, Tensor) for item in value):
            arguments[name] = type(value)(
                item.detach() if isinstance(item, Tensor) else item for item in value
            )
        else:
            arguments[name] = value
    return arguments


def columns_of_call(rule: Rule, call: Call, gradient: Any) -> dict[str, Columns]:
    """Form the columns of a call's parameters by its rule, or by replay.

    Returns:
        Columns by argument name.

    Raises:
        NotSplittableError: Neither can.
    """
    if call.shared:
        return equal_shares(call, gradient)
    if call.weighted:
        return weighted_terms(call, gradient)
    if rule.keeps and call.out_dtype.is_complex:  # formulas are those of real numbers
        return rule_of("*").formula(call, gradient)
    try:
        return rule.formula(call, gradient)
    except UnsuitedError as why:
        if not rule.keeps or not isinstance(gradient, Tensor):
            raise NotSplittableError(str(why)) from why
        return rule_of("*").formula(call, gradient)


def equal_shares(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """Give each sample an equal share of a term that does not depend on samples."""
    if call.name not in ("add", "sub"):
        totals = zip(call.parameters.items(), gradients_of(call, gradient), strict=True)
        return {
            name: Equal(total.reshape(-1) / call.samples, call.samples, parameter.shape)
            for (name, parameter), total in totals
            if total is not None
        }
    shares: dict[str, Columns] = {}
    for name, parameter in call.parameters.items():
        factor = float(call.get("alpha", 1)) if name in ("other", "1") else 1.0
        sign = -1.0 if call.name == "sub" and name in ("other", "1") else 1.0
        total = gradient.sum_to_size(parameter.shape).reshape(-1)
        shares[name] = Equal(total * (sign * factor / call.samples), call.samples, parameter.shape)
    return shares


def weighted_terms(call: Call, gradient: Tensor) -> dict[str, Columns]:
    """Split a learned weight's gradient by each sample's part of the numbers that it weights."""
    assert call.terms is not None, "split before the backward pass, or the call is refused"
    shares: dict[str, list[Tensor]] = {name: [] for name in call.parameters}
    for sample in range(call.samples):
        leaves = {name: value.detach().clone().requires_grad_() for name, value in call.parameters.items()}
        out = run_again(call, {**leaves, **{name: part[sample] for name, part in call.terms.items()}})
        grads = torch.autograd.grad(out, list(leaves.values()), gradient)
        for name, share in zip(leaves, grads, strict=True):
            shares[name].append(share.flatten())
    return {name: Dense(torch.stack(rows), call.parameters[name].shape) for name, rows in shares.items()}


def pull_back(
    source: ParameterSource, leaves: dict[str, Tensor], columns: Columns, options: ProductOptions
) -> dict[str, Columns]:
    """Differentiate columns of a computed value back to the parameters behind it."""
    if isinstance(columns, Equal):
        with without_hooks(leaves.values()):
            value = columns.gradient.reshape(source.tensor.shape).to(source.tensor.dtype)
            rows = torch.autograd.grad(
                source.tensor, list(leaves.values()), value, retain_graph=True, allow_unused=True
            )
        return {
            name: Equal(gradient.flatten(), columns.samples, leaf.shape)
            for (name, leaf), gradient in zip(leaves.items(), rows, strict=True)
            if gradient is not None
        }
    jacobian = columns.matrix(options)
    jacobian = jacobian.reshape(columns.samples, *source.tensor.shape).to(source.tensor.dtype)
    grads: tuple[Tensor | None, ...]
    with without_hooks(leaves.values()):
        try:
            grads = torch.autograd.grad(
                source.tensor, list(leaves.values()), jacobian,
                retain_graph=True, allow_unused=True, is_grads_batched=True,
            )  # fmt: skip
        except RuntimeError:  # a backward that has no batching rule
            grads = _one_by_one(source.tensor, list(leaves.values()), jacobian)
    return {
        name: Dense(gradient.reshape(len(gradient), -1), leaf.shape)
        for (name, leaf), gradient in zip(leaves.items(), grads, strict=True)
        if gradient is not None
    }


def _one_by_one(value: Tensor, leaves: list[Tensor], jacobian: Tensor) -> tuple[Tensor | None, ...]:
    rows = [torch.autograd.grad(value, leaves, row, retain_graph=True, allow_unused=True) for row in jacobian]
    return tuple(
        None if rows[0][k] is None else torch.stack([row[k] for row in rows]) for k in range(len(leaves))
    )
