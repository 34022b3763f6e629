"""A user's own task: `module:function` gives a `Task`, or a mapping that is made one."""

from __future__ import annotations

import difflib
import importlib
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    default_collate,
)

from fisherscope.tasks.errors import TaskError
from fisherscope.tasks.images import draws
from fisherscope.tasks.mishaps import told
from fisherscope.tasks.task import SPLITS, Split, Task, classification, cross_entropy, held_out

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
            f"task {name!r}: its factory returned {type(made).__name__}; expected a "
            "fisherscope.tasks.Task, or a "
            f"mapping with model, train and optionally {', '.join(KEYS[2:])}"
        )
    if "data" in made and "train" not in made:  # as advise and doctor call it
        made = {"train" if key == "data" else key: value for key, value in made.items()}
    if isinstance(made.get("model"), nn.Module) and again is not None:
        made = {**made, "model": lambda: again()["model"]}
    unknown = sorted(str(key) for key in set(made) - set(KEYS))
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
    ))  # fmt: skip


def _checked(task: Task) -> Task:
    """The task, what can be seen of it without calling anything being as it has to be."""
    if isinstance(task.model, nn.Module):
        raise TaskError(
            f"task {task.name!r}: 'model' must be a function that makes a new model; received one "
            "made already"
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


def split(data: Any, place: str) -> Split:
    """Data of a user as a split: one already, tensors in a tuple or mapping, a map-style dataset, its loader.

    Raises:
        TaskError: None of these, or empty.
    """
    if isinstance(data, Mapping | tuple | list):
        _check_columns(data, place)
    if isinstance(data, DataLoader):
        _check_loader(data, place)
    if hasattr(data, "batch") and hasattr(data, "__len__"):
        found: Any = data
    elif isinstance(data, DataLoader):
        found = Mapped(data.dataset, data.collate_fn or default_collate)
    elif isinstance(data, Mapping | tuple | list) and _tensors(data):
        found = Columns(data)
    elif type(data) is TensorDataset:
        found = Columns(data.tensors)
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        found = Mapped(data)
    else:
        raise TaskError(
            f"{place}: received {type(data).__name__}; expected a tuple or dict of tensors (samples "
            "first), a dataset with a length, or a DataLoader of one"
        )
    if len(found) < 1:
        raise TaskError(f"{place}: it is empty")
    checked: Split = found
    return checked


def _check_loader(loader: DataLoader[Any], place: str) -> None:
    """Refuse what has no samples by number, and a choice of samples that would be lost."""
    if isinstance(loader.dataset, IterableDataset):
        raise TaskError(f"{place}: received a loader of a stream; expected a dataset with samples by number")
    if loader.batch_size is None or not isinstance(loader.sampler, SequentialSampler | RandomSampler):
        raise TaskError(
            f"{place}: received a loader that draws by its own {type(loader.sampler).__name__}, which "
            "training would not follow; give the samples themselves, such as "
            "torch.utils.data.Subset(dataset, indices)"
        )


def _check_columns(data: Any, place: str) -> None:
    """Refuse what can only be meant as columns of samples, and is none that can be taken."""
    values = list(data.values()) if isinstance(data, Mapping) else list(data)
    if any(isinstance(value, np.ndarray) for value in values):
        raise TaskError(
            f"{place}: received NumPy arrays; expected tensors: torch.from_numpy makes them of arrays"
        )
    if values and all(isinstance(value, Tensor) and value.dim() for value in values) and not _tensors(data):
        lengths = ", ".join(str(len(value)) for value in values)
        raise TaskError(f"{place}: its tensors have {lengths} samples; expected the same number in each")
    if isinstance(data, Mapping) and not _tensors(data):
        kinds = ", ".join(f"{key!r}: {type(value).__name__}" for key, value in data.items())
        raise TaskError(f"{place}: received a dict of {kinds or 'nothing'}; expected tensors, samples first")


def _tensors(data: Any) -> bool:
    values = list(data.values()) if isinstance(data, Mapping) else list(data)
    lengths = {len(value) for value in values if isinstance(value, Tensor)}
    return bool(values) and all(isinstance(value, Tensor) for value in values) and len(lengths) == 1


class Columns:
    """Tensors with samples along the first dimension, in a tuple or mapping."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        values = self.data.values() if isinstance(self.data, Mapping) else self.data
        return len(next(iter(values)))

    def to(self, device: torch.device | str) -> Columns:
        """The same rows on `device`."""
        return Columns(self._each(lambda value: value.to(device)))

    def batch(self, indices: Tensor, epoch: int | None = None, seed: int = 0) -> Any:
        """The rows, in the structure that was given."""
        return self._each(lambda value: value[indices.to(value.device)])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Any:
        if isinstance(self.data, Mapping):
            return {key: change(value) for key, value in self.data.items()}
        return tuple(change(value) for value in self.data)


class Mapped:
    """A map-style dataset, collated as a DataLoader does."""

    def __init__(self, data: Any, collate: Callable[[list[Any]], Any] = default_collate) -> None:
        self.data, self.collate = data, collate

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, indices: Tensor, epoch: int | None = None, seed: int = 0) -> Any:
        """The samples. What one draws at random (torch, numpy, random) follows from seed, epoch and index."""
        seeds = draws(indices, -1 if epoch is None else epoch, seed).tolist()
        with _forked():
            return self.collate(
                [self._sample(k, drawn) for k, drawn in zip(indices.tolist(), seeds, strict=True)]
            )

    def _sample(self, index: int, seed: int) -> Any:
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed & 0xFFFFFFFF)  # noqa: NPY002  (the generator that such data sets draw from)
        random.seed(seed)
        return self.data[index]


@contextmanager
def _forked() -> Iterator[None]:
    """Leaves the global generators as they were."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])
