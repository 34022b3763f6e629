"""What a task is: a model, three splits of data, a loss, and metrics with a direction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fisherscope.tasks.user_code import told

SPLITS = ("train", "validation", "test")


class Split(Protocol):
    """Samples by number."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor, epoch: int | None = None, seed: int = 0) -> Any:
        """The samples `indices` as the task's loss takes them.

        Args:
            indices: (n,) integers.
            epoch: Where given, samples are augmented: a pure function of seed, epoch and index.
            seed: Of the augmentation.
        """
        ...


@dataclass(frozen=True)
class Evaluation:
    """A split's loss and metrics, and what each sample contributed, (n,) float32 by name."""

    loss: float
    metrics: dict[str, float]
    per_example: dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Task:
    """What a run trains.

    Args:
        name: Readable, unique.
        model: Makes a new model; call `torch.manual_seed` before.
        train: Training samples.
        validation: What selection and control look at.
        test: Shown once, for what was chosen.
        loss: (model, batch) → scalar, the batch's mean.
        scores: (model, batch) → {name: (n,)}: per sample, `loss` and every metric; metrics are their means.
        metric: Name of the primary one.
        direction: Whether less or more of it is better.
        notes: Choices and shortcomings that belong in a run's record.
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
        """Samples of a split, on `device`; training samples are augmented where `epoch` is given.

        Splits that are there already (`to`) make their batches there.
        """
        picked = torch.as_tensor(indices, dtype=torch.int64)
        batch = self.split(split).batch(picked, epoch if split == "train" else None, seed)
        return _moved(batch, torch.device(device))

    def to(self, device: torch.device | str) -> Task:
        """The same task with the splits that hold tensors on `device`.

        Batches of the others are moved there one by one.
        """
        held: dict[int, Split] = {}  # by split: one that stands in for another is held once
        for name in SPLITS:
            split = self.split(name)
            held.setdefault(id(split), _on(split, device))
        train, validation, test = (held[id(self.split(name))] for name in SPLITS)
        return replace(self, train=train, validation=validation, test=test)

    def split(self, name: str) -> Split:
        """A split by name.

        Raises:
            ValueError: There is no such split.
        """
        if name not in SPLITS:
            raise ValueError(f"task {self.name!r} has the splits {', '.join(SPLITS)}; received {name!r}")
        split: Split = getattr(self, name)
        return split

    def evaluate(
        self, model: nn.Module, split: str, *, device: torch.device | str = "cpu", batch_size: int = 1000
    ) -> Evaluation:
        """Mean loss and metrics over a split, in eval mode; modules' modes are put back."""
        samples = len(self.split(split))
        parts: dict[str, list[Tensor]] = {}
        with _evaluating(model), torch.no_grad():
            for start in range(0, samples, batch_size):
                chosen = torch.arange(start, min(start + batch_size, samples))
                with told(f"task {self.name!r}: its scores of {split} samples", "mend the data or 'scores'"):
                    scores = self.scores(model, self.batch(split, chosen, device=device))
                for name, values in scores.items():
                    parts.setdefault(name, []).append(values.detach().float())
        whole = {name: torch.cat(values).cpu() for name, values in parts.items()}
        means = {name: float(values.double().mean()) for name, values in whole.items()}
        return Evaluation(means.pop("loss"), means, {name: values.numpy() for name, values in whole.items()})

    def limited(self, samples: int) -> Task:
        """The same task with the first `samples` of a seeded permutation of its training samples.

        Raises:
            ValueError: There are not so many, or fewer than one is asked for.
        """
        if not 1 <= samples <= len(self.train):
            raise ValueError(
                f"limiting {self.name} to {samples} training samples: it has {len(self.train)}; "
                "expected 1 to that many"
            )
        return replace(self, train=Subset(self.train, seeded_order(len(self.train))[:samples]))


@dataclass(frozen=True)
class Subset:
    """Some samples of another split, renumbered."""

    whole: Split
    chosen: Tensor  # (n,) numbers in `whole`

    def __len__(self) -> int:
        return len(self.chosen)

    def to(self, device: torch.device | str) -> Subset:
        """The same part of the other split on `device`."""
        return Subset(_on(self.whole, device), self.chosen.to(device))

    def batch(self, indices: Tensor, epoch: int | None = None, seed: int = 0) -> Any:
        """The contract's."""
        return self.whole.batch(self.chosen[indices.to(self.chosen.device)], epoch, seed)


def _on(split: Split, device: torch.device | str) -> Split:
    """The split on `device`, where it knows how to go there."""
    there: Split = split.to(device) if hasattr(split, "to") else split
    return there


def seeded_order(samples: int, seed: int = 0) -> Tensor:
    """A permutation of the samples that depends on their number and the seed alone."""
    return torch.from_numpy(np.random.default_rng((seed, samples)).permutation(samples))


def held_out(split: Split, samples: int) -> tuple[Split, Split]:
    """(training rest, validation): `samples` of a seeded permutation become the validation split."""
    order = seeded_order(len(split), seed=1)
    return Subset(split, order[samples:].sort().values), Subset(split, order[:samples].sort().values)


def cross_entropy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """The batch's mean cross-entropy."""
    return F.cross_entropy(model(batch[0]), batch[1])


def classification(model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Per sample: cross-entropy, and 1 where the class is wrong."""
    outputs = model(batch[0])
    loss = F.cross_entropy(outputs.float(), batch[1], reduction="none")
    return {"loss": loss, "error": (outputs.argmax(1) != batch[1]).float()}


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _moved(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=device.type != "cpu")
    if isinstance(batch, Mapping):
        return {key: _moved(value, device) for key, value in batch.items()}
    if isinstance(batch, list | tuple):
        return type(batch)(_moved(value, device) for value in batch)
    return batch
