"""Load what `doctor` and `advise` examine: a user's model, loss and data.

`subject(name)` takes `module:function`, `file.py:function` or a built-in task such as `digits/resnet8`, and
returns a `Workload`. A factory returns one of

- `(model, loss, batch)`: a model (or a function that makes one), a loss, one batch;
- a mapping with `model`, `loss`, and `batch` (one batch) or `data` (a data set, a DataLoader, or tensors with
  samples first); optionally `reduction` ("mean" or "sum") and `record`, a mapping of further arguments of
  `record_gram`, such as `{"batch": 1}` for sequence-first inputs;
- what `fs.tasks.get` takes: a `Task`, or a mapping with `model` and `train`. A mapping with `data` and
  `scores` serves as both, so that one factory works with every verb.

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

from torch import nn

from fisherscope.samples import copy_batch_functions
from fisherscope.tasks.batch_source import (
    BatchSource,
    StreamSource,
    data_source,
    single_batch_source,
    split_source,
)
from fisherscope.tasks.errors import TaskError
from fisherscope.tasks.factory import as_task, call_factory
from fisherscope.tasks.registry import get
from fisherscope.tasks.task import Task
from fisherscope.tasks.workload_loss import Loss, bound_loss, loss_of, module_reduction, type_text

KEYS = ("name", "model", "loss", "batch", "data", "reduction", "record")
TRAINING_KEYS = ("scores", "validation", "test", "metric", "direction")
"""Keys that only training reads, so that one factory serves both."""
TEMPLATE = """\
from torch.nn import functional as F

from my_project import MyModel, my_dataset  # yours


def factory():
    model = MyModel()
    loss = lambda model, batch: F.cross_entropy(model(batch[0]), batch[1])  # one number: the batch's mean
    return {"model": model, "loss": loss, "data": my_dataset}
"""
"""A factory to copy into a file and fill in."""


@dataclass(frozen=True)
class Workload:
    """Hold a model, its loss, and a source of batches of any size.

    Args:
        name: The factory's or task's name.
        make: Makes a new model; a copy, if the factory returned a model.
        loss: (model, batch) → scalar: the batch's mean, or its sum if `reduction` is "sum".
        source: Source of the samples.
        dataset_size: Samples per epoch; None for one batch or a stream.
        given_size: Samples of the one batch; None for a data set or a stream.
        reduction: Reduction of the loss.
        record: Further arguments of `record_gram`.

    Example:
        ```python
        workload = fs.tasks.subject("digits/mlp")
        workload.loss(workload.make(), workload.batch(16)).backward()
        images, labels = next(workload.batches(8, seed=1))
        assert len(labels) == 8
        ```
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
        """Arguments of `record_gram` for this workload."""
        return {"reduction": self.reduction, **self.record}

    def batch(self, size: int | None = None, seed: int = 0) -> Any:
        """Draw one batch.

        Args:
            size: Number of samples; by default the one batch there is, or 32 of a data set (all, if it is
                smaller).
            seed: Random seed of the draw.

        Returns:
            The batch as the loss takes it.

        Raises:
            TaskError: `size` is below 1, or a stream holds fewer samples.
        """
        if size is None and self.given_size is not None:
            return self.source.all_samples()
        return next(self.batches(min(32, self.dataset_size or 32) if size is None else size, seed))

    def batches(self, size: int, seed: int = 0) -> Iterator[Any]:
        """Draw batches of exactly `size` samples without end, in seeded epochs.

        A sample occurs once per epoch; the last, smaller batch of an epoch is left out. If there are fewer
        samples than `size`, batches repeat some: cost and sample layout are those of the size, statistics are
        not.

        Args:
            size: Samples per batch.
            seed: Random seed of the epochs.

        Returns:
            An endless iterator of batches.

        Raises:
            TaskError: `size` is below 1, or a stream holds fewer samples.
        """
        if size < 1:
            raise TaskError(f"drawing batches of {self.name}: {size} samples; expected 1 or more")
        return self.source.batches(size, seed)


def subject(name: str, data_dir: str | os.PathLike[str] | None = None) -> Workload:
    """Load the model, loss and data of a factory or of a built-in task.

    Args:
        name: `module:function` or `file.py:function`, which returns (model, loss, batch), a mapping with
            `model`, `loss` and `batch` or `data`, or what `fs.tasks.get` takes; or a built-in task such as
            "digits/resnet8".
        data_dir: Directory of the data files, as for `fs.tasks.get`.

    Returns:
        The workload.

    Raises:
        TaskError: There is no such factory or task, or it returned something else; the text says which line
            to write.
        DataError: The data files of a built-in task are missing or damaged.

    Example:
        ```python
        assert fs.tasks.subject("digits/mlp").dataset_size == 300
        ```
    """
    if ":" not in name:
        return task_workload(get(name, data_dir))
    parts = call_factory(name)
    if isinstance(parts, Workload):
        return parts
    if isinstance(parts, Task) or (isinstance(parts, Mapping) and "train" in parts):
        return task_workload(as_task(name, parts, lambda: call_factory(name)))
    if isinstance(parts, tuple | list) and len(parts) == 3:
        return subject_of(parts[0], parts[1], batch=parts[2], name=name)
    if not isinstance(parts, Mapping):
        raise TaskError(
            f"{name!r}: its factory returned {type_text(parts)}; expected (model, loss, batch) or a "
            f"mapping, such as\n\n{TEMPLATE}"
        )
    unknown = sorted(set(parts) - {*KEYS, *TRAINING_KEYS})
    if unknown:
        near = difflib.get_close_matches(str(unknown[0]), KEYS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; expected some of {', '.join(KEYS)}"
        raise TaskError(f"{name!r}: its factory returned the key {unknown[0]!r}{hint}")
    if "model" not in parts:
        raise TaskError(f"{name!r}: its factory returned no 'model'; write\n\n{TEMPLATE}")
    return subject_of(
        parts["model"], parts.get("loss"), batch=parts.get("batch"), data=parts.get("data"),
        name=str(parts.get("name", name)), reduction=parts.get("reduction"), record=parts.get("record") or {},
    )  # fmt: skip


def subject_of(
    model: nn.Module | Callable[[], nn.Module], loss: Any, *, batch: Any = None, data: Any = None,
    name: str = "model", reduction: str | None = None, record: Mapping[str, Any] | None = None,
) -> Workload:  # fmt: skip
    """Make a workload from Python objects.

    Args:
        model: A model, which is copied for each use, or a function that makes one.
        loss: (model, batch) → scalar; a loss of torch, called with model(batch[0]) and batch[1]; or None for
            a model that returns its loss, model(**batch).loss.
        batch: One batch, tensors in tuples, lists or dicts; instead of `data`.
        data: A data set, a DataLoader, or tensors with samples first; instead of `batch`.
        name: Name for messages.
        reduction: "mean" or "sum"; by default that of a loss module, else "mean".
        record: Further arguments of `record_gram`.

    Returns:
        The workload.

    Raises:
        TaskError: An argument has a wrong type, or `batch` and `data` are both or neither given.

    Example:
        ```python
        data = torch.utils.data.TensorDataset(torch.randn(20, 3), torch.arange(20) % 2)
        workload = fs.tasks.subject_of(torch.nn.Linear(3, 2), torch.nn.CrossEntropyLoss(), data=data)
        assert workload.batch(8)[0].shape == (8, 3)
        ```
    """
    first = model if isinstance(model, nn.Module) else _first_model(name, model)
    make = (lambda: copy.deepcopy(first)) if isinstance(model, nn.Module) else model
    if (batch is None) == (data is None):
        received = "both" if batch is not None else "neither"
        raise TaskError(
            f"{name!r}: expected either 'batch' (one batch) or 'data' (a data set); received {received}"
        )
    own_reduction = module_reduction(loss)
    if reduction not in (None, "mean", "sum") or own_reduction not in (None, "mean", "sum"):
        raise TaskError(
            f"{name!r}: the loss's reduction is {reduction or own_reduction!r}; expected 'mean' or 'sum', "
            "one number per batch"
        )
    final: Literal["mean", "sum"] = "sum" if (reduction or own_reduction) == "sum" else "mean"
    options, of_batch = copy_batch_functions(record or {})
    dim = options["batch"] if isinstance(options.get("batch"), int) else 0
    source = single_batch_source(first, batch, dim) if data is None else data_source(data)
    samples = None if isinstance(source, StreamSource) else source.samples
    dataset_size, given_size = (None, samples) if data is None else (samples, None)
    final_loss = bound_loss(loss_of(name, loss), of_batch)
    return Workload(name, make, final_loss, source, dataset_size, given_size, final, options)


def task_workload(task: Task) -> Workload:
    """Make a workload of a task; samples are augmented as in the first epoch."""
    return Workload(task.name, task.model, task.loss, split_source(task.train), len(task.train))


def _first_model(name: str, make: Any) -> nn.Module:
    """Make a model, checked."""
    model = make() if callable(make) else make
    if not isinstance(model, nn.Module):
        raise TaskError(
            f"{name!r}: 'model' is {type_text(model)}; expected a torch.nn.Module, or a function that "
            "makes one"
        )
    return model
