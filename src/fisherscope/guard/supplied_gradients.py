"""A node of the graph whose parameters' gradients are formed by us, and by torch if that fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fisherscope.guard.step_guard import Guard

Totals = Callable[[Tensor], list[Tensor | None]]
"""Gradient of a call's output → gradients of its parameters, in their order."""


class SuppliedGradients(torch.autograd.Function):
    """Pass the output's gradient on, and give the parameters those that a function forms.

    `apply(out, guard, totals, plain, *parameters)`: `totals` forms the gradients within the guard; `plain`
    forms them where it fails, or something failed before.
    """

    @staticmethod
    def forward(ctx: Any, out: Tensor, guard: Guard, totals: Totals, plain: Totals, *_: Tensor) -> Tensor:
        """Return the output itself: the same memory, no copy, no view."""
        ctx.mark_dirty(out)
        ctx.guard, ctx.totals, ctx.plain = guard, totals, plain
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """Give the gradients, of the output first."""
        formed = ctx.guard.run(ctx.totals, gradient)
        return gradient, None, None, None, *(ctx.plain(gradient) if formed is None else formed)
