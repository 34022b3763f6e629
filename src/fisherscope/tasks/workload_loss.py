"""Losses that a user gives, as a function of model and batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from fisherscope.gram.interception.torch_private import tree_leaves
from fisherscope.samples import BatchSamples
from fisherscope.tasks.errors import TaskError
from fisherscope.tasks.factory import batch_loss

Loss = Callable[[nn.Module, Any], Tensor]


def loss_of(name: str, loss: Any) -> Loss:
    """Convert a loss to (model, batch) → scalar, checked."""
    if loss is None:
        return _model_loss
    if not callable(loss):
        raise TaskError(
            f"{name!r}: 'loss' is {type_text(loss)}; expected a function, such as "
            "lambda model, batch: F.cross_entropy(model(batch[0]), batch[1])"
        )
    return batch_loss(loss)


def bound_loss(loss: Loss, of_batch: Sequence[BatchSamples]) -> Loss:
    """Bind each batch to the functions of it before its loss is taken."""
    if not of_batch:
        return loss

    def bound(model: nn.Module, batch: Any) -> Tensor:
        for function in of_batch:
            function.bind(batch)
        return loss(model, batch)

    return bound


def _model_loss(model: nn.Module, batch: Any) -> Tensor:
    """Return the loss that the model computes itself.

    Raises:
        TaskError: The batch is no mapping, or the model's output has no loss.
    """
    if not isinstance(batch, Mapping):
        raise TaskError(
            f"taking the model's own loss, model(**batch).loss: the batch is {type_text(batch)}; expected "
            "a mapping. Give 'loss': lambda model, batch: …"
        )
    output = model(**batch)
    loss = getattr(output, "loss", None)
    if not isinstance(loss, Tensor):
        raise TaskError(
            f"taking the model's own loss, model(**batch).loss: {type(model).__name__} returned "
            f"{type_text(output)} without one; put labels in the batch, or give 'loss': lambda model, "
            "batch: …"
        )
    return loss


def module_reduction(loss: Any) -> str | None:
    """Return the reduction of a loss module, None for other losses."""
    reduction = getattr(loss, "reduction", None)
    return reduction if isinstance(loss, nn.Module) and isinstance(reduction, str) else None


def type_text(value: Any) -> str:
    """Describe a value's type, with its items' types or tensors' shapes."""
    shapes = [tuple(leaf.shape) for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
    if isinstance(value, tuple | list):
        kinds = ", ".join(type(item).__name__ for item in value)
        return f"a {type(value).__name__} of {len(value)} ({kinds})"
    return f"{type(value).__name__}" + (f" with tensors of shape {shapes[:4]}" if shapes else "")
