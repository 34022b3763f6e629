"""What `doctor` and `advise` look at: a user's model, loss and data, however they are handed over.

`subject(name)` takes `module:function`, `file.py:function` or a built-in task such as `digits/resnet8`, and
gives a `Subject`. A factory returns one of

- `(model, loss, batch)`: a model (or a function that makes one), a loss, one batch;
- a mapping with `model`, `loss`, and `batch` (one batch) or `data` (a data set, a DataLoader, or tensors with
  samples first); optionally `reduction` ("mean" or "sum") and `record`, a mapping of further arguments of
  `record_gram`, such as `{"batch": 1}` for sequence-first inputs;
- what `fs.tasks.get` takes: a `Task`, or a mapping with `model` and `train`. With `data`
  and `scores` a mapping is that too, so that one factory does for every verb.

`loss` is `(model, batch) -> scalar`; or a loss of torch (`F.cross_entropy`, `nn.MSELoss()`), which is then
called with `model(batch[0])` and `batch[1]`; or left out, for a model whose output has a `loss` when it is
called with the batch's keys (`model(**batch).loss`).
"""

from __future__ import annotations

import copy
import difflib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from fisherscope.tasks.batch_source import BatchSource, StreamSource, of_batch, of_data, of_split
from fisherscope.tasks.errors import TaskError
from fisherscope.tasks.factory import called, made, task_of
from fisherscope.tasks.task import Task

KEYS = ("name", "model", "loss", "batch", "data", "reduction", "record")
OF_TASKS = ("scores", "validation", "test", "metric", "direction")
"""Keys that training needs; not looked at here, so that one factory does for both."""
TEMPLATE = """\
from torch.nn import functional as F

from my_project import MyModel, my_dataset  # yours


def factory():
    model = MyModel()
    loss = lambda model, batch: F.cross_entropy(model(batch[0]), batch[1])  # one number: the batch's mean
    return {"model": model, "loss": loss, "data": my_dataset}
"""
"""What a user copies into a file beside their project."""

Loss = Callable[[nn.Module, Any], Tensor]


@dataclass(frozen=True)
class Subject:
    """A model, its loss, and batches of any size.

    Args:
        name: As it was asked for.
        make: A new model; for a factory that hands over one model, a copy of it.
        loss: (model, batch) → scalar: the batch's mean, or its sum where `reduction` says so.
        source: Where samples come from.
        dataset_size: Samples of an epoch; None where one batch, or a stream, was given.
        given_size: Samples of the batch that was given; None where there is a data set.
        reduction: Of the loss.
        record: Further arguments of `record_gram`.
    """

    name: str
    make: Callable[[], nn.Module]
    loss: Loss
    source: BatchSource
    dataset_size: int | None = None
    given_size: int | None = None
    reduction: Literal["mean", "sum"] = "mean"
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of `record_gram` that belong to this subject."""
        return {"reduction": self.reduction, **self.record}

    def batch(self, size: int | None = None, seed: int = 0) -> Any:
        """One batch; the one that was given where `size` is None (else 32, or what there is).

        Raises:
            TaskError: There are no samples.
        """
        if size is None and self.given_size is not None:
            return self.source.whole()
        return next(self.batches(min(32, self.dataset_size or 32) if size is None else size, seed))

    def batches(self, size: int, seed: int = 0) -> Iterator[Any]:
        """Batches of exactly `size` samples without end: seeded epochs, each sample once in one.

        The last, smaller batch of an epoch is left out. Where there are fewer samples than `size`, batches
        hold some of them repeatedly: cost and grouping are those of the size, statistics are not.
        """
        if size < 1:
            raise TaskError(f"drawing batches of {self.name}: {size} samples; expected 1 or more")
        return self.source.batches(size, seed)


# Reading what a factory returned ----------------------------------------------------------------------


def subject(name: str, data_dir: str | os.PathLike[str] | None = None) -> Subject:
    """The model, loss and data of a factory, or of a built-in task; the text of this module says how.

    Raises:
        TaskError: No such factory or task, or it returned something else; the text says which line to write.
    """
    from fisherscope import tasks

    if ":" not in name:
        return of_task(tasks.get(name, data_dir))
    found = made(name)
    if isinstance(found, Subject):
        return found
    if isinstance(found, Task) or (isinstance(found, Mapping) and "train" in found):
        return of_task(task_of(name, found, lambda: made(name)))
    if isinstance(found, tuple | list) and len(found) == 3:
        return subject_of(found[0], found[1], batch=found[2], name=name)
    if not isinstance(found, Mapping):
        raise TaskError(
            f"{name!r}: its factory returned {_described(found)}; expected (model, loss, batch) or a mapping"
            f", such as\n\n{TEMPLATE}"
        )
    unknown = sorted(set(found) - {*KEYS, *OF_TASKS})
    if unknown:
        near = difflib.get_close_matches(str(unknown[0]), KEYS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; expected some of {', '.join(KEYS)}"
        raise TaskError(f"{name!r}: its factory returned the key {unknown[0]!r}{hint}")
    if "model" not in found:
        raise TaskError(f"{name!r}: its factory returned no 'model'; write\n\n{TEMPLATE}")
    return subject_of(
        found["model"], found.get("loss"), batch=found.get("batch"), data=found.get("data"),
        name=str(found.get("name", name)), reduction=found.get("reduction"), record=found.get("record") or {},
    )  # fmt: skip


def subject_of(
    model: nn.Module | Callable[[], nn.Module], loss: Any, *, batch: Any = None, data: Any = None,
    name: str = "model", reduction: str | None = None, record: Mapping[str, Any] | None = None,
) -> Subject:  # fmt: skip
    """A subject from Python objects; arguments as the keys of a factory's mapping.

    Raises:
        TaskError: One of them is not what is needed.
    """
    first = model if isinstance(model, nn.Module) else _first(name, model)
    make = (lambda: copy.deepcopy(first)) if isinstance(model, nn.Module) else model
    if (batch is None) == (data is None):
        given = "both" if batch is not None else "neither"
        raise TaskError(f"{name!r}: expected 'batch' (one batch) or 'data' (a data set); received {given}")
    known = _reduction_of(loss)
    if reduction not in (None, "mean", "sum") or known not in (None, "mean", "sum"):
        raise TaskError(
            f"{name!r}: the loss's reduction is {reduction or known!r}; expected 'mean' or 'sum', one number "
            "a batch"
        )
    told: Literal["mean", "sum"] = "sum" if (reduction or known) == "sum" else "mean"
    options = dict(record or {})
    dim = options["batch"] if isinstance(options.get("batch"), int) else 0
    source = of_batch(first, batch, dim) if data is None else of_data(data)
    size = None if isinstance(source, StreamSource) else source.samples
    asked = _loss(name, loss)
    if data is None:
        return Subject(name, make, asked, source, None, size, told, options)
    return Subject(name, make, asked, source, size, None, told, options)


def of_task(task: Task) -> Subject:
    """A task's model, loss and training split, augmented as its first epoch is."""
    return Subject(task.name, task.model, task.loss, of_split(task.train), len(task.train))


def _first(name: str, model: Any) -> nn.Module:
    found = model() if callable(model) else model
    if not isinstance(found, nn.Module):
        raise TaskError(
            f"{name!r}: 'model' is {_described(found)}; expected a torch.nn.Module, or a function that makes "
            "one"
        )
    return found


def _loss(name: str, loss: Any) -> Loss:
    if loss is None:
        return _own_loss
    if not callable(loss):
        raise TaskError(
            f"{name!r}: 'loss' is {_described(loss)}; expected a function, such as "
            "lambda model, batch: F.cross_entropy(model(batch[0]), batch[1])"
        )
    return called(loss)


def _own_loss(model: nn.Module, batch: Any) -> Tensor:
    if not isinstance(batch, Mapping):
        raise TaskError(
            f"there is no 'loss', and the batch is {_described(batch)}; a model is asked for its own loss by "
            "the keys of a mapping (model(**batch).loss). Give 'loss': lambda model, batch: …"
        )
    found = model(**batch)
    loss = getattr(found, "loss", None)
    if not isinstance(loss, Tensor):
        raise TaskError(
            f"there is no 'loss', and {type(model).__name__} returned {_described(found)} without one; put "
            "labels in the batch, or give 'loss': lambda model, batch: …"
        )
    return loss


def _reduction_of(loss: Any) -> str | None:
    found = getattr(loss, "reduction", None)
    return found if isinstance(loss, nn.Module) and isinstance(found, str) else None


def _described(value: Any) -> str:
    shapes = [tuple(leaf.shape) for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]
    if isinstance(value, tuple | list):
        kinds = ", ".join(type(item).__name__ for item in value)
        return f"a {type(value).__name__} of {len(value)} ({kinds})"
    return f"{type(value).__name__}" + (f" with tensors of shape {shapes[:4]}" if shapes else "")
