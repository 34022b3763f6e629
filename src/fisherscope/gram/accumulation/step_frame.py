"""Compare gradients and parameters at the block's ends: was the optimizer's step measured?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from fisherscope.gram.interception.torch_private import (
    backward_hooks_of,
    disable_torch_function,
    versions_of,
)

_NUMBERS = 4096
"""Gradient entries that are compared: those of the smallest parameters, at least one."""
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
_COARSE = 5e-2


class StepFrame:
    """Watch the parameters' gradients and versions from the first forward to the block's end.

    Args:
        parameters: Those measured, by name.
        shard_of: Gives a parameter's gradient by name, where a shard holds it and not the parameter.
    """

    def __init__(
        self, parameters: Mapping[str, Tensor], shard_of: Callable[[str], Tensor | None] | None = None
    ) -> None:
        self._parameters, self._shard_of = dict(parameters), shard_of
        self._watched: dict[str, Tensor] = {}
        self._before: dict[str, Tensor] = {}
        self._arrived: dict[str, Tensor] = {}
        self._versions: list[int] | None = None
        self._moved = False
        self.dropped = 0

    def begin(self) -> None:
        """Note the gradients that exist when the block opens."""
        count = 0
        sizes = [(parameter.numel(), name) for name, parameter in self._parameters.items()]
        for size, name in sorted(sizes):
            if self._watched and count + size > _NUMBERS:
                break  # as all that follow
            if _plain(parameter := self._parameters[name]):
                self._watched[name] = parameter
                count += size
        self._before = {
            name: _entries(gradient).clone()
            for name, parameter in self._watched.items()
            if (gradient := parameter.grad) is not None and not gradient.is_sparse
        }

    def begin_forward(self) -> None:
        """Note the parameters' versions when a forward runs."""
        if self._versions is None:
            self._versions = self._current()

    def begin_pass(self) -> bool:
        """Check, when a backward pass begins, whether earlier gradients were discarded.

        Returns:
            Whether gradients of the earlier passes were discarded, so that their columns are of no step.
        """
        is_discarded = (
            bool(self._arrived)
            and self._are_cleared()
            and any(bool(values.any()) for values in self._arrived.values())
        )
        if is_discarded:
            self.dropped += 1
            self._arrived, self._before, self._moved = {}, {}, False
            self._versions = self._current()
        elif self._versions is not None:
            self._moved = self._moved or self._versions != self._current()
        return is_discarded

    def _are_cleared(self) -> bool:
        """Tell whether the parameters hold no gradient any more."""
        if self._shard_of is not None:  # a shard may be empty, or zero: only None is alike on all ranks
            return all(self._shard_of(name) is None for name in self._arrived)
        gradients = [self._watched[name].grad for name in self._arrived]
        return all(gradient is None or not bool(gradient.any()) for gradient in gradients)

    def on_gradient(self, name: str, gradient: Tensor) -> None:
        """Add a gradient that a backward pass brought to a parameter."""
        if name not in self._watched or gradient.is_sparse:
            return
        value = _entries(gradient)
        before = self._arrived.get(name)
        self._arrived[name] = value.clone() if before is None else before + value

    def entries(self, count: int = 64) -> dict[str, tuple[Tensor, Tensor]]:
        """Return a few numbers of what arrived at each watched parameter, and of its `.grad` now."""
        return {
            name: (arrived[:count].cpu(), _gradient(self._watched[name])[:count].clone().cpu())
            for name, arrived in self._arrived.items()
            if not _has_other_hooks(self._watched[name])
        }

    def moved_problem(self) -> str | None:
        """Say that the parameters changed between the passes; None where they did not."""
        if not self._moved or self._shard_of is not None:  # gathering writes into a sharded model's
            return None
        return (
            "the parameters changed between the passes that were measured: their samples' gradients are "
            "at different weights. Measure one evaluation, at one set of weights, a block"
        )

    def problem(self) -> str | None:
        """Say why the measurement is not of what the optimizer will step by.

        None where it is, or can't be determined.

        Returns:
            The reason, or None where there is none or it can't be determined.
        """
        if self._moved:
            return self.moved_problem()
        if (
            not self._arrived
            or _is_distributed()
            or (self._versions is not None and self._versions != self._current())
        ):
            return None  # averaged over ranks, or stepped inside the block
        with disable_torch_function():
            return None if self._is_as_arrived() else self._difference()

    def _is_as_arrived(self) -> bool:
        """Tell whether the parameters hold, number by number, the gradients that arrived."""
        for name, arrived in self._arrived.items():
            gradient = self._watched[name].grad
            if gradient is None or gradient.is_sparse or gradient.dtype != arrived.dtype:
                return False
            if not torch.equal(_entries(gradient), arrived):
                return False
        return True

    def _difference(self) -> str | None:
        names = [name for name in self._arrived if not _has_other_hooks(self._watched[name])]
        if not names:
            return None
        mine = torch.cat([self._arrived[name].double() for name in names])
        there = torch.cat([_gradient(self._watched[name]).double() for name in names])
        before = torch.cat(
            [self._before.get(name, torch.zeros_like(self._arrived[name])).double() for name in names]
        )
        tolerance = max(_TOLERANCE.get(self._watched[name].dtype, _COARSE) for name in names)
        if (
            not bool(mine.any())
            or not bool(torch.isfinite(there).all())
            or not bool(torch.isfinite(mine).all())
        ):
            return None
        if _parallel(there, mine, tolerance):
            return None
        if not bool(there.any()):
            return "the gradients were cleared before the block ended: no step will be made by them"
        if bool(before.any()) and _parallel(there - before, mine, tolerance):
            share = float(before.norm() / there.norm())
            return (
                f"the gradients held {share:.2g} of their length when the block began: an earlier "
                "pass, which was not measured, is part of the step (zero_grad() forgotten, or a micro-batch "
                "outside the block)"
            )
        return (
            "the gradients at the block's end are not those that were measured: a pass was dropped, or "
            "another was added that was not seen"
        )

    def _current(self) -> list[int]:
        with disable_torch_function():  # an attribute of a parameter is a call, too
            return versions_of(self._parameters.values())


def _plain(parameter: Tensor) -> bool:
    return parameter.is_leaf and not parameter.is_complex() and parameter.layout == torch.strided


def _gradient(parameter: Tensor) -> Tensor:
    gradient = parameter.grad
    return _entries(torch.zeros_like(parameter) if gradient is None or gradient.is_sparse else gradient)


def _entries(gradient: Tensor) -> Tensor:
    """Take a gradient's first entries, flat: as many as are compared."""
    flat = gradient.detach()
    if flat.numel() <= _NUMBERS:
        return flat.reshape(-1)
    while flat.numel() > _NUMBERS and len(flat) > 1:  # rows first: no copy of a large one
        flat = flat[: max(len(flat) // 2, 1)]
    return flat.reshape(-1)[:_NUMBERS]


def _parallel(one: Tensor, other: Tensor, tolerance: float) -> bool:
    """Tell whether one is a positive multiple of the other (unscaled, clipped, averaged)."""
    factor = float(one @ other) / max(float(other @ other), 1e-300)
    return factor > 0 and float((one - factor * other).norm()) <= tolerance * float(one.norm())


def _has_other_hooks(parameter: Tensor) -> bool:
    """Tell whether hooks of others change the gradient on its way to the parameter."""
    return len(backward_hooks_of(parameter) or ()) > 1


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
