"""The gradient of all ranks' batches, from what the training step itself has reduced where it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fisherscope.gram.ranks.process_group import Ranks

_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
_COARSE = 5e-2
_BUCKET = 1 << 22
"""Numbers of gradients that are summed over the ranks at once."""
Entries = Mapping[str, tuple[Tensor, Tensor]]
"""By parameter: numbers of the gradient that arrived on a rank, and of its `.grad` at the block's end."""


def gradient_reduction(entries: Sequence[Entries]) -> tuple[str, str | None]:
    """Tell whether `.grad` is this rank's own gradient or that of all ranks.

    Args:
        entries: What each rank saw, in rank order.

    Returns:
        "averaged", "local" or "unknown", and what is wrong: `.grad` is neither.
    """
    names = [name for name in entries[0] if all(name in other for other in entries)]
    if not names:
        return "unknown", None
    dtypes = {entries[0][name][0].dtype for name in names}
    tolerance = max(_TOLERANCE.get(dtype, _COARSE) for dtype in dtypes)
    arrived = [torch.cat([rank[name][0].double() for name in names]) for rank in entries]
    there = [torch.cat([rank[name][1].double() for name in names]) for rank in entries]
    mean = torch.stack(arrived).mean(0)
    if not bool(torch.isfinite(torch.stack([*arrived, *there])).all()) or not bool(mean.any()):
        return "unknown", None
    if all(_parallel(one, mean, tolerance) for one in there):
        return "averaged", None
    if all(_parallel(one, own, tolerance) for one, own in zip(there, arrived, strict=True)):
        return "local", None
    if not any(bool(one.any()) for one in there):
        return "unknown", None  # sharded, or not kept
    return "unknown", (
        "the gradients at the block's end are neither this rank's nor the mean of all ranks' that were "
        "measured: a pass was dropped, or another was added that was not seen"
    )


def _parallel(one: Tensor, other: Tensor, tolerance: float) -> bool:
    """Tell whether one is a positive multiple of the other (unscaled, clipped, averaged)."""
    factor = float(one @ other) / max(float(other @ other), 1e-300)
    return factor > 0 and float((one - factor * other).norm()) <= tolerance * float(one.norm())


def square_sums(ranks: Ranks, gradients: Mapping[str, Tensor], reduction: str) -> dict[str, Tensor]:
    """Square the length of each parameter's sum of all ranks' columns, not scaled.

    Args:
        ranks: The channel.
        gradients: `.grad` of each parameter at the block's end, zeros where there is none; the same names and
            shapes on each rank.
        reduction: As `gradient_reduction` found.

    Returns:
        |Σ columns|² by name, float64.

    Cost: nothing where the step has averaged its gradients; else one all-reduce of them (averaged or not:
    their sum over the ranks is the same).
    """
    if reduction == "averaged":
        return {
            name: gradient.double().square().sum().cpu() * ranks.size**2
            for name, gradient in gradients.items()
        }
    out: dict[str, Tensor] = {}
    for names in _buckets(gradients):
        flat = ranks.add_up(torch.cat([gradients[name].flatten() for name in names])).double().cpu()
        parts = flat.split([gradients[name].numel() for name in names])
        out.update((name, part.square().sum()) for name, part in zip(names, parts, strict=True))
    return out


def _buckets(gradients: Mapping[str, Tensor]) -> list[list[str]]:
    """Group names of one dtype, so that many small gradients are sent at once."""
    buckets: list[list[str]] = []
    numbers = 0
    for name, gradient in gradients.items():
        joins = buckets and numbers + gradient.numel() <= _BUCKET
        if joins and gradients[buckets[-1][0]].dtype == gradient.dtype:
            buckets[-1].append(name)
            numbers += gradient.numel()
        else:
            buckets.append([name])
            numbers = gradient.numel()
    return buckets
