"""A torch newer than those that were tried: compared once with a loop over samples, before it is used."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from fisherscope.gram.errors import GramError

OLDEST_TRIED, NEWEST_TRIED = "2.13", "2.15"
"""Versions of torch on which the core suite was run: experiments/results/torch-versions.json."""
TOLERANCE = 1e-9
"""Relative difference of sums in float64 that differ in their order alone."""

RecordGram = Callable[..., AbstractContextManager[Any]]
_verdicts: dict[str, str] = {}


class UntriedTorchError(GramError):
    """This torch is newer than those that were tried, and the measurement of a small model fails on it."""


def refuse_failing_torch(record_gram: RecordGram) -> None:
    """Check a torch that was not tried, once in a process: a small model, in float64, against a loop.

    Args:
        record_gram: The function of that name; called within, it passes.

    Raises:
        UntriedTorchError: The check fails, now or before.

    Cost:
        Nothing on a torch that was tried; otherwise some 50 ms, once.
    """
    version = torch.__version__
    if version not in _verdicts:
        _verdicts[version] = ""  # what is measured in the check is not checked
        if _release(version) > _release(NEWEST_TRIED):
            _verdicts[version] = _judge(record_gram, version)
    if _verdicts[version]:
        raise UntriedTorchError(_verdicts[version])


def _release(version: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _judge(record_gram: RecordGram, version: str) -> str:
    """Return why nothing is measured on this torch; empty, after a warning in one line, if all agrees."""
    tried = f"torch {version} is newer than those that were tried ({OLDEST_TRIED} to {NEWEST_TRIED})"
    try:
        wrong = [mode for mode in ({}, {"fused": True}) if not _agrees(record_gram, **mode)]
        problem = "the Gram matrix of a small model is not that of a loop over its samples" if wrong else ""
    except Exception as error:  # noqa: BLE001  (whatever it is: this torch is not measured on)
        problem = f"measuring a small model ends with {type(error).__name__}: {error}"
    if problem:
        return (
            f"{tried}, and {problem}; nothing is measured, training goes on. Install a newer fisherscope, or "
            f"torch {NEWEST_TRIED}"
        )
    warnings.warn(
        f"{tried}; a small model was measured on it and compared with a loop over its samples: they agree",
        RuntimeWarning,
        stacklevel=2,
    )
    return ""


class _Scaled(torch.autograd.Function):
    """A function with a backward of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x * weight

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        return gradient * weight, (gradient * x).sum(0)


class _SmallModel(nn.Module):
    """A convolution, a norm, a linear layer and a raw parameter; weights that draw no random number."""

    def __init__(self) -> None:
        super().__init__()
        count = 0

        def draw_weight(*shape: int) -> nn.Parameter:
            nonlocal count
            count += 1
            return nn.Parameter(_numbers(count, *shape))

        self.kernel, self.weight, self.bias = draw_weight(3, 2, 2), draw_weight(4, 9), draw_weight(4)
        self.gain, self.scale = draw_weight(9), draw_weight(4)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.conv1d(x, self.kernel).flatten(1)
        x = nn.functional.layer_norm(x, (9,), self.gain).tanh()
        scaled: Any = _Scaled
        out: Tensor = scaled.apply(nn.functional.linear(x, self.weight, self.bias), self.scale)
        return out


def _numbers(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def _agrees(record_gram: RecordGram, **mode: bool) -> bool:
    """Whether the Gram of four samples is that of a loop over them, and the gradients are torch's."""
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        model, inputs = _SmallModel(), _numbers(0, 4, 2, 4)
        rows = torch.stack([_flat_gradient(model, inputs[k : k + 1]) for k in range(4)])
        with record_gram(model, strict=True, **mode) as record:
            model(inputs).square().sum(1).mean().backward()
        arrived = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return _close(torch.as_tensor(record.gram), rows @ rows.T) and _close(arrived, rows.mean(0))


def _flat_gradient(model: nn.Module, sample: Tensor) -> Tensor:
    loss = model(sample).square().sum()
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])


def _close(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and bool(
        (found - expected).abs().max() <= TOLERANCE * expected.abs().max()
    )
