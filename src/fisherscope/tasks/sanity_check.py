"""A user's task tried on a few samples before anything is written, so that its mistakes are told at once."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from fisherscope.tasks.errors import TaskError
from fisherscope.tasks.task import Task
from fisherscope.tasks.user_code import told

_SCORED = 2
_MEND = "mend the loss, (model, batch) -> a number, or the model"
_ALONE = "an epoch's last batch has one sample: choose another batch size, or mend the loss or the model"


def tried(
    task: Task,
    samples: int,
    device: torch.device,
    precision: Callable[[], AbstractContextManager[Any]],
) -> weakref.WeakSet[nn.Module]:
    """Make a model, and take the loss of some training samples and the scores of some validation samples.

    The global random generators move on; seed them afterwards.

    Args:
        task: The task.
        samples: Training samples, from the first on.
        device: Where.
        precision: Makes the context in which the loss is taken.

    Returns:
        The model's modules, weakly, by which a task that gives one of them again is found out.

    Raises:
        TaskError: Something raised, or is not what it has to be.

    Cost: a forward pass of so few samples, and a second model for that while.
    """
    model = _model(task, device)
    where = f"task {task.name!r}: its loss of {samples} training samples"
    with told(f"task {task.name!r}: taking {samples} training samples", "mend the data"):
        batch = task.batch("train", range(samples), epoch=0, device=device)
    with told(where, _ALONE if samples == 1 else _MEND), precision():
        loss = task.loss(model, batch)
    _check_loss(where, loss)
    _check_scores(task, model.eval(), device)
    return weakref.WeakSet(model.modules())


def _model(task: Task, device: torch.device) -> nn.Module:
    place = f"task {task.name!r}: making its model"
    with told(place, "'model' must be a function that needs no arguments"):
        model: Any = task.model()
    if not isinstance(model, nn.Module):
        raise TaskError(f"{place}: 'model' returned {type(model).__name__}; expected a torch.nn.Module")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise TaskError(f"{place}: none of its parameters is to be trained; expected one that requires grad")
    return model.to(device)


def _check_loss(where: str, loss: Any) -> None:
    if not isinstance(loss, Tensor):
        raise TaskError(f"{where} is {type(loss).__name__}; expected a tensor, the batch's mean loss")
    if loss.dim():
        raise TaskError(
            f"{where} has shape {tuple(loss.shape)}; expected one number: take the mean over the batch"
        )
    if not loss.is_floating_point():
        raise TaskError(f"{where} is of {loss.dtype}; expected a real floating-point number")
    if not loss.requires_grad:
        raise TaskError(
            f"{where} does not depend on the model's parameters; make it of the model's output, "
            "without item(), detach() or no_grad()"
        )


def _check_scores(task: Task, model: nn.Module, device: torch.device) -> None:
    samples = min(_SCORED, len(task.validation))
    where = f"task {task.name!r}: its scores of {samples} validation samples"
    wanted = "expected {'loss': (n,), metric: (n,)}, a number for each sample"
    with told(where, "mend 'scores', (model, batch) -> {'loss': (n,), metric: (n,)}"), torch.no_grad():
        scores: Any = task.scores(model, task.batch("validation", range(samples), device=device))
    if not isinstance(scores, Mapping):
        raise TaskError(f"{where} are {type(scores).__name__}; {wanted}")
    for name in ("loss", task.metric):
        if name not in scores:
            raise TaskError(
                f"{where} have no {name!r} among {', '.join(map(str, scores)) or 'none'}; {wanted}"
            )
    for name, values in scores.items():
        shape = tuple(values.shape) if isinstance(values, Tensor) else None
        if shape != (samples,):
            got = type(values).__name__ if shape is None else f"of shape {shape}"
            raise TaskError(f"{where}: {name!r} is {got}; expected a tensor of shape ({samples},)")
