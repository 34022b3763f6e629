"""Options of `record_gram`, and their validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fisherscope.gram.errors import GramError
from fisherscope.gram.interception.parameter_selection import Chosen


@dataclass(frozen=True)
class GramOptions:
    """Options of `record_gram`; its docstring explains each."""

    semantics: Literal["path", "per_loss"]
    reduction: Literal["mean", "sum"]
    batch: int | Mapping[str, int | None] | None
    sample_of: Tensor | Callable[..., Tensor] | None
    parameters: Chosen
    fused: bool
    precision: Literal["default", "float64"]
    strict: bool
    accumulate: bool
    memory_budget: int
    loss_scale: float
    layers: bool
    group: Any = False
    spectrum: Literal["global", "rank", "off"] = "global"
    max_bytes: int = 1 << 30


def check_model(model: object) -> None:
    """Refuse what is no module, or has parameters that no forward has made yet.

    Raises:
        GramError: Says which.
    """
    if not isinstance(model, nn.Module):
        raise GramError(
            f"record_gram(model): received {type(model).__name__}; expected a torch.nn.Module, whose "
            "parameters are measured."
        )
    for name, parameter in model.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise GramError(
                f"record_gram(model): parameter {name!r} has no shape yet (a lazy module); call the model "
                "once on a batch before it is measured."
            )


def check_choice(argument: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse an unknown word, naming the known ones."""
    if value not in known:
        raise GramError(
            f"record_gram(model, {argument}={value!r}): expected one of {', '.join(map(repr, known))}."
        )


def check_numbers(memory_budget: int, loss_scale: float) -> None:
    """Refuse a budget that holds nothing and a scale that can't be divided out."""
    if memory_budget <= 0:
        raise GramError(f"record_gram(model, memory_budget={memory_budget!r}): expected bytes, above 0.")
    if not loss_scale or not math.isfinite(loss_scale):
        raise GramError(
            f"record_gram(model, loss_scale={loss_scale!r}): expected what the loss was multiplied by, a "
            "finite number other than 0."
        )


def check_samples(batch: object, sample_of: object) -> None:
    """Refuse a batch dimension or samples of rows that are no whole numbers."""
    if not (batch is None or isinstance(batch, int | Mapping)):
        raise GramError(
            f"record_gram(model, batch={batch!r}): expected a dimension such as 0, or one for each input by "
            "name or position, such as {'x': 1, 'mask': None}."
        )
    if sample_of is None or (callable(sample_of) and not isinstance(sample_of, Tensor)):
        return
    if not _counts_samples(sample_of):
        kind = type(sample_of).__name__
        if isinstance(sample_of, Tensor):
            kind = f"a tensor of {sample_of.dtype}, shape {tuple(sample_of.shape)}"
        raise GramError(
            f"record_gram(model, sample_of=…): received {kind}; expected the sample of each row, a tensor "
            "(rows,) of whole numbers from 0."
        )


def _counts_samples(rows: object) -> bool:
    if not isinstance(rows, Tensor) or rows.dim() != 1 or not len(rows):
        return False
    whole = not (rows.is_floating_point() or rows.is_complex() or rows.dtype == torch.bool)
    return whole and int(rows.min()) >= 0
