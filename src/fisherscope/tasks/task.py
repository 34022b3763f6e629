"""Define a task: a model, three splits of data, a loss, and metrics with a direction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fisherscope.tasks.split import Split, Stream, Subset, seeded_order, split_on
from fisherscope.tasks.user_code import reraise_with_location

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Evaluation:
    """Hold mean loss and metrics of a split, and each sample's; see `Task.evaluate`.

    Args:
        loss: Mean over the samples.
        metrics: Means by name.
        per_example: (n,) float32 by name, `loss` among them.
    """

    loss: float
    metrics: dict[str, float]
    per_example: dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Task:
    """Hold what a run trains: a model, data, a loss and metrics.

    Args:
        name: Readable, unique.
        model: Makes a new model; call `torch.manual_seed` before.
        train: Training samples.
        validation: Samples that settings are selected and policies are steered by.
        test: Samples that only final results are reported on.
        loss: (model, batch) → scalar, the batch's mean.
        scores: (model, batch) → {name: (n,)}: each sample's `loss` and metrics; a metric is their mean.
        metric: Name of the primary metric.
        direction: Whether the metric is better when smaller ("min") or larger ("max").
        notes: Choices and limitations that belong in a run's record.

    Example:
        ```python
        from torch.nn import functional as F

        digits = fs.tasks.get("digits/mlp")

        def scores(model, batch):
            output = model(batch[0])
            loss = F.cross_entropy(output, batch[1], reduction="none")
            return {"loss": loss, "error": (output.argmax(1) != batch[1]).float()}

        task = fs.tasks.Task(
            "digits/linear",
            lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)),
            digits.train, digits.validation, digits.test,
            lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]), scores,
        )
        assert task.evaluate(task.model(), "validation").metrics["error"] <= 1
        images, labels = task.to("cpu").batch("train", [0, 1, 2])
        assert len(task.split("test")) == len(digits.test)
        ```
    """

    name: str
    model: Callable[[], nn.Module]
    train: Split
    validation: Split
    test: Split
    loss: Callable[[nn.Module, Any], Tensor]
    scores: Callable[[nn.Module, Any], Mapping[str, Tensor]]
    metric: str = "error"
    direction: Literal["min", "max"] = "min"
    notes: tuple[str, ...] = ()

    def batch(
        self,
        split: str,
        indices: Sequence[int] | Tensor,
        *,
        epoch: int | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> Any:
        """Return samples of a split, on `device`.

        Args:
            split: "train", "validation" or "test".
            indices: (n,) numbers of samples.
            epoch: If given, training samples are augmented as in this epoch.
            seed: Random seed of the augmentation.
            device: Device of the batch; a split that is on it already (`to`) makes the batch there.

        Returns:
            The batch as the loss takes it; tensors (n, ...).

        Raises:
            ValueError: There is no such split.
        """
        numbers = torch.as_tensor(indices, dtype=torch.int64)
        batch = self.split(split).batch(numbers, epoch if split == "train" else None, seed)
        return _batch_on(batch, torch.device(device))

    def to(self, device: torch.device | str) -> Task:
        """Copy the splits to `device`; of splits without tensors, each batch when it is drawn.

        Args:
            device: The device.

        Returns:
            The same task with its splits there.

        Cost: the device memory of the splits.
        """
        copies: dict[int, Split] = {}  # by split: one that is validation and test split is copied once
        for name in SPLITS:
            split = self.split(name)
            copies.setdefault(id(split), split_on(split, device))
        train, validation, test = (copies[id(self.split(name))] for name in SPLITS)
        return replace(self, train=train, validation=validation, test=test)

    def split(self, name: str) -> Split:
        """Return a split by its name.

        Args:
            name: "train", "validation" or "test".

        Returns:
            The split.

        Raises:
            ValueError: There is no such split.
        """
        if name not in SPLITS:
            raise ValueError(f"task {self.name!r}: split {name!r}; expected one of {', '.join(SPLITS)}")
        split: Split = getattr(self, name)
        return split

    def evaluate(
        self, model: nn.Module, split: str, *, device: torch.device | str = "cpu", batch_size: int = 1000
    ) -> Evaluation:
        """Evaluate a model on a split, in eval mode; modules' modes are restored.

        Args:
            model: The model, on `device`.
            split: "train", "validation" or "test".
            device: Device of the batches.
            batch_size: Samples per forward pass.

        Returns:
            Mean loss and metrics, and those of each sample.

        Raises:
            ValueError: There is no such split.
            TaskError: Scores or data of a user's task raised an exception.

        Cost: one forward pass of the split; one device synchronisation.
        """
        samples = len(self.split(split))
        parts: dict[str, list[Tensor]] = {}
        with _eval_mode(model), torch.no_grad():
            for start in range(0, samples, batch_size):
                indices = torch.arange(start, min(start + batch_size, samples))
                where = f"task {self.name!r}: its scores of {split} samples"
                with reraise_with_location(where, "fix the data or 'scores'"):
                    scores = self.scores(model, self.batch(split, indices, device=device))
                for name, values in scores.items():
                    parts.setdefault(name, []).append(values.detach().float())
        whole = {name: torch.cat(values).cpu() for name, values in parts.items()}
        means = {name: float(values.double().mean()) for name, values in whole.items()}
        return Evaluation(means.pop("loss"), means, {name: values.numpy() for name, values in whole.items()})

    def limited(self, samples: int) -> Task:
        """Limit the training split to some samples, the first of a seeded permutation.

        Args:
            samples: Number of training samples.

        Returns:
            The same task with the smaller split.

        Raises:
            ValueError: The number is below 1 or above that of the split.

        Example:
            ```python
            assert len(fs.tasks.get("digits/mlp").limited(64).train) == 64
            ```
        """
        if not 1 <= samples <= len(self.train):
            raise ValueError(
                f"limiting {self.name} to {samples} training samples: it has {len(self.train)}; "
                "expected at least 1 and at most that"
            )
        return replace(self, train=Subset(self.train, seeded_order(len(self.train))[:samples]))

    def in_segments(self, samples: int, seed: int) -> Task:
        """Train in epochs of any length: seeded permutations of the data, one after another, cut up.

        Validation stands in for the test split, which is then not evaluated.

        Args:
            samples: Samples of an epoch.
            seed: Seed of the permutations.

        Returns:
            The same task with the other training and test split.

        Example:
            ```python
            task = fs.tasks.get("digits/mlp").in_segments(128, seed=0)
            assert len(task.train) == 128 and task.test is task.validation
            ```
        """
        return replace(self, train=Stream(self.train, samples, seed), test=self.validation)

    def evaluated_on(self, samples: int) -> Task:
        """Limit validation and test split to the first samples of a seeded permutation.

        Args:
            samples: Most samples of each; a smaller split is left whole.

        Returns:
            The same task with the smaller splits.

        Example:
            ```python
            assert len(fs.tasks.get("digits/mlp").evaluated_on(64).test) == 64
            ```
        """

        def limit(split: Split) -> Split:
            whole = len(split) <= samples
            return split if whole else Subset(split, seeded_order(len(split), seed=2)[:samples].sort().values)

        validation = limit(self.validation)
        test = validation if self.test is self.validation else limit(self.test)
        return replace(self, validation=validation, test=test)


def cross_entropy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the batch's mean cross-entropy."""
    return F.cross_entropy(model(batch[0]), batch[1])


def classification(model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Return each sample's cross-entropy and error (1 if the class is wrong), (n,) each."""
    outputs = model(batch[0])
    loss = F.cross_entropy(outputs.float(), batch[1], reduction="none")
    return {"loss": loss, "error": (outputs.argmax(1) != batch[1]).float()}


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """Switch a model to eval mode, and restore each module's mode at the end."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _batch_on(batch: Any, device: torch.device) -> Any:
    """Copy the tensors of a batch to `device`, in the same structure."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=device.type != "cpu")
    if isinstance(batch, Mapping):
        return {key: _batch_on(value, device) for key, value in batch.items()}
    if isinstance(batch, list | tuple):
        return type(batch)(_batch_on(value, device) for value in batch)
    return batch
