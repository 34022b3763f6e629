"""What each optimizer's state says of P: one function for each, and a registry for others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fisherscope.gram.metric.preconditioners import (
    DiagonalPreconditioner,
    FactoredPreconditioner,
    MatrixPreconditioner,
    Preconditioner,
    ScalarPreconditioner,
)

FLOOR = 1e-3
"""Least √v̂ of a coordinate, as share of the parameter's root mean v̂, unless another is given."""
PSEUDO_INVERSE = 1e-6
"""Eigenvalues of the momentum's product below this share of the largest are directions without momentum."""


class NoStateError(Exception):
    """Report an optimizer that holds no state of a parameter yet."""


PreconditionerOf = Callable[[Mapping[str, Any], Mapping[str, Any], Tensor, float], Preconditioner]
"""(group, state, parameter, floor) → P of the parameter, without the ratio of the groups' rates: that is
`group["rate"]`."""


def number(value: Any) -> float:
    """Return a setting as a number: some are tensors (capturable, a tensor of a rate)."""
    return float(value)


def floored_root(square: Tensor, floor: float) -> tuple[Tensor, float]:
    """Return √square in float64, raised to `floor` times its root mean, and the share that was raised."""
    root = square.detach().to(torch.float64).clamp_min(0).sqrt()
    least = floor * float(root.square().mean().sqrt())
    return root.clamp_min(least), float((root < least).double().mean())


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def adam(
    group: Mapping[str, Any], state: Mapping[str, Any], parameter: Tensor, floor: float
) -> Preconditioner:
    """Return √v̂ + ε of Adam, AdamW and NAdam; with amsgrad of the largest v."""
    square = state["max_exp_avg_sq"] if group.get("amsgrad") else state["exp_avg_sq"]
    steps = number(state["step"])
    if steps < 1:
        raise NoStateError("it has made no step yet")
    correction = 1 - number(group["betas"][1]) ** steps
    root, raised = floored_root(_real(square), floor)
    return DiagonalPreconditioner(root / math.sqrt(correction) + number(group["eps"]), group["rate"], raised)


def rmsprop(
    group: Mapping[str, Any], state: Mapping[str, Any], parameter: Tensor, floor: float
) -> Preconditioner:
    """Return √v + ε of RMSprop, of the centred v where it is centred; its v is not bias-corrected."""
    square = _real(state["square_avg"])
    if group.get("centered"):
        square = square - _real(state["grad_avg"]).square()
    root, raised = floored_root(square, floor)
    return DiagonalPreconditioner(root + number(group["eps"]), group["rate"], raised)


def adagrad(
    group: Mapping[str, Any], state: Mapping[str, Any], parameter: Tensor, floor: float
) -> Preconditioner:
    """Return √Σg² + ε of Adagrad, whose rate decays with its steps."""
    steps = number(state["step"])
    if steps < 1:
        raise NoStateError("it has made no step yet")
    root, raised = floored_root(_real(state["sum"]), floor)
    rate = group["rate"] / (1 + steps * number(group.get("lr_decay", 0.0)))
    return DiagonalPreconditioner(root + number(group["eps"]), rate, raised)


def sgd(
    group: Mapping[str, Any], state: Mapping[str, Any], parameter: Tensor, floor: float
) -> Preconditioner:
    """Return the ratio of the group's rate, whatever the momentum."""
    return ScalarPreconditioner(group["rate"])


def adafactor(
    group: Mapping[str, Any], state: Mapping[str, Any], parameter: Tensor, floor: float
) -> Preconditioner:
    """Return the factored √v of Adafactor, times the size of the parameter that its step is relative to."""
    size = float(parameter.detach().double().norm()) / math.sqrt(parameter.numel())
    rate = group["rate"] * max(number(group["eps"][1]), size)
    if state.get("row_var") is None:
        root, raised = floored_root(state["variance"], floor)
        return DiagonalPreconditioner(root, rate, raised)
    rows, across = state["row_var"].double(), state["col_var"].double()
    mean = rows.mean(-2, keepdim=True)
    if parameter.dim() > 2:
        root, raised = floored_root(rows @ across / mean, floor)
        return DiagonalPreconditioner(root, rate, raised)
    (row, low), (column, narrow) = floored_root(rows / mean, floor), floored_root(across, floor)
    return FactoredPreconditioner(row.flatten(), column.flatten(), rate, (low + narrow) / 2)


def muon(
    group: Mapping[str, Any], state: Mapping[str, Any], parameter: Tensor, floor: float
) -> Preconditioner:
    """Return the pseudo-inverse fourth root of M Mᵀ (or MᵀM, if smaller) of Muon's momentum M.

    Muon steps along (M Mᵀ)^{-1/2} M; P⁻¹ = (M Mᵀ)^{-1/2} takes M to the same step. Directions without
    momentum have no P and are left out.
    """
    momentum = state["momentum_buffer"].detach().double()
    on_rows = momentum.shape[0] <= momentum.shape[1]
    values, vectors = torch.linalg.eigh(momentum @ momentum.T if on_rows else momentum.T @ momentum)
    if not float(values[-1]) > 0:
        raise NoStateError("its momentum is zero")
    kept = values > PSEUDO_INVERSE * values[-1]
    roots = torch.where(kept, values.clamp_min(torch.finfo(torch.float64).tiny), 1.0) ** -0.25 * kept
    scale = math.sqrt(group["rate"] * _muon_adjustment(group.get("adjust_lr_fn"), parameter.shape))
    return MatrixPreconditioner(
        (vectors * (scale * roots)) @ vectors.T, on_rows, 1 - float(kept.double().mean())
    )


def _muon_adjustment(kind: str | None, shape: torch.Size) -> float:
    rows, columns = shape[:2]
    if kind == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1.0, rows / columns))


KNOWN: dict[str, PreconditionerOf] = {
    "Adam": adam, "AdamW": adam, "NAdam": adam, "RMSprop": rmsprop, "Adagrad": adagrad, "SGD": sgd,
    "Adafactor": adafactor, "Muon": muon,
}  # fmt: skip
"""By the name of the optimizer's class, or of one it derives from."""


def register_preconditioner(optimizer: str, function: PreconditionerOf) -> None:
    """Say what P an optimizer of your own uses.

    Args:
        optimizer: Name of its class.
        function: (group, state, parameter, floor) → P of the parameter: a `DiagonalPreconditioner`, …;
            `group["rate"]` is the ratio of the group's rate to the largest one, `floor` the least √v̂ as
            share of its root mean.

    Example:
        ```python
        from fisherscope.gram import DiagonalPreconditioner, register_preconditioner

        def of_mine(group, state, parameter, floor):
            return DiagonalPreconditioner(state["second_moment"].sqrt() + 1e-8, group["rate"])

        register_preconditioner("MyOptimizer", of_mine)
        ```
    """
    KNOWN[optimizer] = function


def known_function(optimizer: torch.optim.Optimizer) -> PreconditionerOf | None:
    """Return what is known of an optimizer's P, by its class or one it derives from; None if nothing is."""
    return next((KNOWN[kind.__name__] for kind in type(optimizer).__mro__ if kind.__name__ in KNOWN), None)
