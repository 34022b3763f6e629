"""A user's own task: `module:function` gives a `Task`, or a mapping that is made one."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from fisherscope.tasks.errors import TaskError
from fisherscope.tasks.task import SPLITS, Task, classification, cross_entropy, held_out
from fisherscope.tasks.user_code import told
from fisherscope.tasks.user_data import split

OF_MEASURING = ("name", "record")
"""Keys that `advise` and `doctor` read; training has no need of them."""
NO_TEST = (
    "The task has no test data: what is called test is its validation data, which settings were chosen by."
)
KEYS = ("model", "train", "validation", "test", "loss", "scores", "metric", "direction")
VALIDATION_SHARE = 0.1
SCORES = """\
    def scores(model, batch):  # a number a sample; "metric" names the one to go by, "error" by default
        output, label = model(batch[0]), batch[1]
        loss = F.cross_entropy(output, label, reduction="none")
        return {"loss": loss, "error": (output.argmax(1) != label).float()}
"""
"""What a factory with a loss of its own adds, for training to be compared."""


def own(name: str) -> Task:
    """The task of `module:function` or `file.py:function`; modules of the working directory are found.

    Raises:
        TaskError: No such module or function, or it returns something else than a task.
    """
    return task_of(name, made(name), lambda: made(name))


def made(name: str) -> Any:
    """What the factory `module:function` (or `file.py:function`) returns.

    Raises:
        TaskError: No such module or function, or importing or calling it failed; the text says where.
    """
    module_name, _, function_name = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    with told(f"task {name!r}: importing {module_name!r}", _importable(module_name)):
        module = _module(module_name)
    factory = getattr(module, function_name, None)
    if factory is not None and not callable(factory):
        raise TaskError(
            f"task {name!r}: {function_name} is {type(factory).__name__}; expected a function "
            "without arguments"
        )
    if factory is None:
        near = difflib.get_close_matches(function_name, dir(module), 3)
        hint = f"; near: {', '.join(near)}" if near else ""
        raise TaskError(f"task {name!r}: {module_name} has no function {function_name!r}{hint}")
    with told(f"task {name!r}: calling {function_name}()", "mend it, or give one that needs no arguments"):
        return factory()


def _importable(name: str) -> str:
    if "/" in name and not name.endswith(".py"):
        return f"a file is named with its suffix: {name}.py"
    return "run where the module can be imported"


def _module(name: str) -> ModuleType:
    if not name.endswith(".py"):
        return importlib.import_module(name)
    path = Path(name)
    if not path.is_file():
        raise TaskError(f"reading {name!r}: there is no such file in {Path.cwd()}")
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        return importlib.import_module(path.stem)
    finally:
        sys.path.pop(0)


def task_of(name: str, made: Any, again: Callable[[], Any] | None = None) -> Task:
    """The task that a factory returned, or the one its mapping describes.

    Args:
        name: As it was asked for.
        made: What the factory returned; `data` in a mapping are the training data.
        again: Calls it once more, which makes a new model where it returns one made already.

    Raises:
        TaskError: It is neither.
    """
    if isinstance(made, Task):
        train, validation, test = (split(getattr(made, key), f"task {name!r}: {key}") for key in SPLITS)
        task = replace(made, name=made.name or name, train=train, validation=validation, test=test)
        return _checked(task)
    if not isinstance(made, Mapping):
        raise TaskError(
            f"task {name!r}: its factory returned {type(made).__name__}; expected a fisherscope.tasks.Task, "
            f"or a mapping with model, train and optionally {', '.join(KEYS[2:])}"
        )
    if "data" in made and "train" not in made:  # as advise and doctor call it
        made = {"train" if key == "data" else key: value for key, value in made.items()}
    if isinstance(made.get("model"), nn.Module) and again is not None:
        made = {**made, "model": lambda: again()["model"]}
    if made.get("reduction") not in (None, "mean"):
        raise TaskError(
            f"task {name!r}: its factory returned reduction={made['reduction']!r}; training takes the loss "
            "as a batch's mean, so that batch sizes can be compared: give the mean"
        )
    unknown = sorted(str(key) for key in set(made) - {*KEYS, *OF_MEASURING, "reduction"})
    if unknown:
        near = difflib.get_close_matches(unknown[0], KEYS, 1)
        raise TaskError(
            f"task {name!r}: its factory returned the key {unknown[0]!r}"
            + (f"; {near[0]!r} is near" if near else f"; expected some of {', '.join(KEYS)}")
        )
    for key in ("model", "train"):
        if key not in made:
            raise TaskError(
                f"task {name!r}: its factory returned no {key!r}; a task needs a model and training data"
            )
    train = split(made["train"], f"task {name!r}: train")
    if made.get("validation") is None:
        if len(train) < 2:
            raise TaskError(f"task {name!r}: train has 1 sample, and validation is split off; give 2 or more")
        train, validation = held_out(train, max(1, round(VALIDATION_SHARE * len(train))))
    else:
        validation = split(made["validation"], f"task {name!r}: validation")
    test = validation if made.get("test") is None else split(made["test"], f"task {name!r}: test")
    if made.get("loss") is F.cross_entropy:  # what a task has anyway
        made = {key: value for key, value in made.items() if key != "loss"}
    if "loss" in made and "scores" not in made:
        raise TaskError(
            f"task {name!r}: it has its own loss and no 'scores'; training is compared by what each sample's "
            f'loss and metric are. Write in the factory\n\n{SCORES}\nand return  "scores": scores  too'
        )
    return _checked(Task(
        name, made["model"], train, validation, test,
        called(made.get("loss", cross_entropy)), made.get("scores", classification),
        made.get("metric", "error"), made.get("direction", "min"),
        () if made.get("test") is not None else (NO_TEST,),
    ))  # fmt: skip


def _checked(task: Task) -> Task:
    """The task, what can be seen of it without calling anything being as it has to be."""
    if isinstance(task.model, nn.Module):
        raise TaskError(
            f"task {task.name!r}: 'model' must be a function that makes a new model; "
            "received one made already"
        )
    for key in ("model", "loss", "scores"):
        value = getattr(task, key)
        if not callable(value):
            raise TaskError(f"task {task.name!r}: {key!r} is {type(value).__name__}; expected a function")
    if task.direction not in ("min", "max"):
        raise TaskError(f"task {task.name!r}: 'direction' is {task.direction!r}; expected 'min' or 'max'")
    return task


def called(loss: Callable[..., Tensor]) -> Callable[[nn.Module, Any], Tensor]:
    """A loss as (model, batch) → scalar; torch's own are called with model(batch[0]) and batch[1]."""
    if isinstance(loss, nn.modules.loss._Loss) or getattr(loss, "__module__", "") == "torch.nn.functional":
        return lambda model, batch: loss(model(batch[0]), batch[1])
    return loss
