"""Check a user's task on a few samples before anything is written."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from fisherscope.tasks.errors import TaskError
from fisherscope.tasks.task import Task
from fisherscope.tasks.user_code import reraise_with_location

_SCORED_SAMPLES = 2
_FIX_LOSS = "fix the loss, (model, batch) -> a number, or the model"
_FIX_LAST_BATCH = (
    "the last batch of an epoch has one sample: choose another batch size, or fix the loss or the model"
)


def check_task(
    task: Task,
    samples: int,
    device: torch.device,
    precision: Callable[[], AbstractContextManager[Any]],
) -> weakref.WeakSet[nn.Module]:
    """Check a task on a few samples: its model, loss and scores.

    The global random generators advance; seed them afterwards.

    Args:
        task: The task.
        samples: Number of training samples, the first ones of the split.
        device: Device of the model and the batches.
        precision: Makes the context in which the loss is taken, such as `contextlib.nullcontext`.

    Returns:
        The model's modules, held weakly: a task that returns one of them again does not make new models.

    Raises:
        TaskError: User code raised an exception, or the model, loss or scores have a wrong type or shape.

    Cost: one forward pass of these samples, and the memory of one more model meanwhile.

    Example:
        ```python
        from contextlib import nullcontext

        task = fs.tasks.get("digits/mlp")
        fs.tasks.check_task(task, 4, torch.device("cpu"), nullcontext)
        ```
    """
    model = _check_model(task, device)
    where = f"task {task.name!r}: its loss of {samples} training samples"
    with reraise_with_location(f"task {task.name!r}: taking {samples} training samples", "fix the data"):
        batch = task.batch("train", range(samples), epoch=0, device=device)
    with reraise_with_location(where, _FIX_LAST_BATCH if samples == 1 else _FIX_LOSS), precision():
        loss = task.loss(model, batch)
    _check_loss(where, loss)
    _check_scores(task, model.eval(), device)
    return weakref.WeakSet(model.modules())


def _check_model(task: Task, device: torch.device) -> nn.Module:
    """Make the task's model on `device`, checked."""
    where = f"task {task.name!r}: making its model"
    with reraise_with_location(where, "'model' must be a function that needs no arguments"):
        model: Any = task.model()
    if not isinstance(model, nn.Module):
        raise TaskError(f"{where}: 'model' returned {type(model).__name__}; expected a torch.nn.Module")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise TaskError(
            f"{where}: none of its parameters is to be trained; expected at least one with requires_grad=True"
        )
    return model.to(device)


def _check_loss(where: str, loss: Any) -> None:
    """Check that a loss is one differentiable floating-point number."""
    if not isinstance(loss, Tensor):
        raise TaskError(f"{where} is {type(loss).__name__}; expected a tensor, the batch's mean loss")
    if loss.dim():
        raise TaskError(
            f"{where} has shape {tuple(loss.shape)}; expected one number: take the mean over the batch"
        )
    if not loss.is_floating_point():
        raise TaskError(f"{where} has dtype {loss.dtype}; expected a real floating-point number")
    if not loss.requires_grad:
        raise TaskError(
            f"{where} does not depend on the model's parameters; compute it from the model's output, "
            "without item(), detach() or no_grad()"
        )


def _check_scores(task: Task, model: nn.Module, device: torch.device) -> None:
    """Check that the scores hold the loss and the metric of each sample."""
    samples = min(_SCORED_SAMPLES, len(task.validation))
    where = f"task {task.name!r}: its scores of {samples} validation samples"
    expected = "expected {'loss': (n,), metric: (n,)}, a number for each sample"
    remedy = "fix 'scores', (model, batch) -> {'loss': (n,), metric: (n,)}"
    with reraise_with_location(where, remedy), torch.no_grad():
        scores: Any = task.scores(model, task.batch("validation", range(samples), device=device))
    if not isinstance(scores, Mapping):
        raise TaskError(f"{where} are {type(scores).__name__}; {expected}")
    for name in ("loss", task.metric):
        if name not in scores:
            raise TaskError(
                f"{where} have no {name!r} among {', '.join(map(str, scores)) or 'none'}; {expected}"
            )
    for name, values in scores.items():
        shape = tuple(values.shape) if isinstance(values, Tensor) else None
        if shape != (samples,):
            received = type(values).__name__ if shape is None else f"of shape {shape}"
            raise TaskError(f"{where}: {name!r} is {received}; expected a tensor of shape ({samples},)")
