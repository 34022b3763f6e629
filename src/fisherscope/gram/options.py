"""Options of `record_gram`, and their validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fisherscope.gram.errors import GramError
from fisherscope.gram.interception.parameter_selection import Chosen
from fisherscope.gram.metric.optimizer_metric import OptimizerMetric

Rows = Tensor | Sequence[Tensor] | Mapping[int, Tensor]
"""The sample of each row: (rows,) or (b, t) whole numbers; several tensors for several kinds of rows."""
SampleOf = Rows | Callable[..., Rows] | None
BatchOption = int | Mapping[str, int | None] | Callable[..., int | Mapping[str, int | None] | None] | None


@dataclass(frozen=True)
class GramOptions:
    """Options of `record_gram`; its docstring explains each."""

    semantics: Literal["path", "per_loss"]
    reduction: Literal["mean", "sum"]
    batch: BatchOption
    sample_of: SampleOf
    batch_size: int | None
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
    metric: OptimizerMetric | None = None


def check_model(model: object) -> None:
    """Refuse what is no module.

    Raises:
        GramError: Says what it is.
    """
    if not isinstance(model, nn.Module):
        raise GramError(
            f"record_gram(model): received {type(model).__name__}; expected a torch.nn.Module, whose "
            "parameters are measured."
        )


def check_parameters(parameters: Mapping[str, Tensor]) -> None:
    """Refuse parameters that no forward has made yet.

    Raises:
        GramError: Names one.
    """
    for name, parameter in parameters.items():
        if nn.parameter.is_lazy(parameter):
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


def check_batch_size(batch_size: object) -> None:
    """Refuse a number of samples that none can be."""
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise GramError(
            f"record_gram(model, batch_size={batch_size!r}): expected the number of samples, 1 or more."
        )


def check_samples(batch: object, sample_of: object) -> None:
    """Refuse a batch dimension or samples of rows that are no whole numbers."""
    if not (batch is None or isinstance(batch, int | Mapping) or callable(batch)):
        raise GramError(
            f"record_gram(model, batch={batch!r}): expected a dimension such as 0, one for each input by "
            "name or position, such as {'x': 1, 'mask': None}, or a function of the model's inputs that "
            "returns one of these."
        )
    if sample_of is None or (callable(sample_of) and not isinstance(sample_of, Tensor)):
        return
    maps = _tensors_of(sample_of)
    wrong = next((rows for rows in maps if not _counts_samples(rows)), None) if maps else sample_of
    if maps and isinstance(maps[0], Tensor) and not maps[0].numel():
        wrong = maps[0]
    if wrong is not None:
        kind = type(sample_of).__name__
        if isinstance(wrong, Tensor):
            kind = f"a tensor of {wrong.dtype}, shape {tuple(wrong.shape)}"
        raise GramError(
            f"record_gram(model, sample_of=…): received {kind}; expected the sample of each row, a tensor "
            "(rows,) of whole numbers from 0, or one such tensor for each kind of row."
        )


def batch_of(
    batch: BatchOption, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> int | Mapping[str, int | None] | None:
    """Return the batch dimension for a forward's inputs.

    Raises:
        GramError: A callable raised, or returned no dimension.
    """
    if batch is None or isinstance(batch, int | Mapping):
        return batch
    try:
        dims = batch(*args, **kwargs)
    except Exception as error:
        raise GramError(
            f"record_gram(model, batch=…): called with the model's inputs it raised {type(error).__name__}: "
            f"{error}; expected a dimension, or one for each input."
        ) from error
    if dims is None or isinstance(dims, int | Mapping):
        return dims
    raise GramError(
        f"record_gram(model, batch=…): called with the model's inputs it returned {type(dims).__name__}; "
        "expected a dimension such as 0, or one for each input by name or position."
    )


def _tensors_of(sample_of: object) -> list[object]:
    if isinstance(sample_of, Tensor):
        return [sample_of]
    if isinstance(sample_of, Mapping):
        return list(sample_of.values())
    return list(sample_of) if isinstance(sample_of, list | tuple) else []


def _counts_samples(rows: object) -> bool:
    if not isinstance(rows, Tensor) or rows.dim() not in (1, 2):
        return False
    whole = not (rows.is_floating_point() or rows.is_complex() or rows.dtype == torch.bool)
    return whole and (not rows.numel() or int(rows.min()) >= -1)
