"""Which sample each row of a tensor is made of: scaled tangents from tensors whose rows are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fisherscope.gram.grouping import Grouping
from fisherscope.gram.identity.codes import draw_codes
from fisherscope.gram.identity.row_ids import RowReading, merge_readings, read_rows

DRAWS = 2
"""Draws of codes: rows that mix samples evenly can pass for one in one draw."""


def forward_rows(
    sources: Sequence[tuple[Tensor, Tensor]],
    target: Tensor,
    dim: int,
    samples: int,
    generator: torch.Generator,
) -> RowReading | None:
    """Which sample each row of a tensor is made of, from tensors upstream of it whose rows are known.

    Scaled tangents on the graph at hand: the derivative of a backward pass by its cotangent is a forward
    derivative.

    Args:
        sources: (tensor, sample of each element as a broadcastable index) upstream.
        target: The tensor to read.
        dim: Its dimension of rows.
        samples: Number of samples.
        generator: Of the recorder's own random numbers.

    Returns:
        The rows; None where the target does not depend on the sources.
    """
    probe = torch.zeros_like(target, requires_grad=True)
    tensors = [tensor for tensor, _ in sources]
    with torch.enable_grad():
        grads = torch.autograd.grad(
            target, tensors, probe, create_graph=True, retain_graph=True, allow_unused=True
        )
    used = [
        (grad, ids)
        for grad, (_, ids) in zip(grads, sources, strict=True)
        if grad is not None and grad.requires_grad
    ]
    if not used:
        return None
    units = [random_like(grad, generator) for grad, _ in used]

    def tangent(scale: Callable[[Tensor], Any]) -> Tensor | None:
        weights = [
            unit * torch.where(ids >= 0, scale(ids.clamp_min(0)), 0.0).to(unit)
            for unit, (_, ids) in zip(units, used, strict=True)
        ]
        (out,) = torch.autograd.grad(
            [grad for grad, _ in used], [probe], weights, retain_graph=True, allow_unused=True
        )
        return out

    unit = tangent(lambda ids: torch.ones(()))
    if unit is None or not bool(unit.any()):
        return None
    readings: dict[int, RowReading] = {}
    for _ in range(DRAWS):
        codes = draw_codes(samples, generator, unit.dtype in (torch.bfloat16, torch.float16))
        passes = []
        for scales in codes.scales:
            values = tangent(lambda ids, scales=scales: scales[ids])  # type: ignore[misc]
            assert values is not None, "as the unit tangent"
            passes.append(values.detach())
        readings = merge_readings(readings, {0: read_rows(unit.detach(), passes, codes, dim)})
    return readings[0]


def element_samples(tensor: Tensor, grouping: Grouping) -> Tensor:
    """Return the sample of each row of a tensor, shaped to broadcast against it."""
    if grouping.lead > 1:
        ids = grouping.sample_of(tensor.shape[: grouping.lead].numel())
        return ids.reshape(*tensor.shape[: grouping.lead], *(1,) * (tensor.dim() - grouping.lead))
    ids = grouping.sample_of(tensor.shape[grouping.dim])
    return ids.reshape([-1 if axis == grouping.dim else 1 for axis in range(tensor.dim())])


def random_like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Draw normal numbers in a tensor's shape, dtype and device."""
    real = torch.randn(tensor.shape, generator=generator, dtype=torch.float32)
    return real.to(device=tensor.device, dtype=tensor.dtype)
