"""Tasks of the study that the package does not have: the digits with other labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from fisherscope import tasks
from fisherscope.tasks import models


@dataclass(frozen=True)
class Relabelled:
    """The same images; class k becomes relabel(k)."""

    split: tasks.Split
    relabel: Callable[[Tensor], Tensor]

    def __len__(self) -> int:
        return len(self.split)

    def batch(self, indices: Tensor, epoch: int | None = None, seed: int = 0) -> Any:
        """Make a batch, as `tasks.Split` does."""
        images, labels = self.split.batch(indices, epoch, seed)
        return images, self.relabel(labels)


def digits5() -> tasks.Task:
    """Return the digits in five classes: 0 and 1, 2 and 3, …"""
    return _relabelled("digits5/resnet8", 5, lambda labels: labels // 2)


def digits2() -> tasks.Task:
    """Return the digits in two classes: even and odd."""
    return _relabelled("digits2/resnet8", 2, lambda labels: labels % 2)


def _relabelled(name: str, classes: int, relabel: Callable[[Tensor], Tensor]) -> tasks.Task:
    whole = tasks.get("digits/resnet8")
    parts = [Relabelled(split, relabel) for split in (whole.train, whole.validation, whole.test)]
    return tasks.Task(name, partial(models.build, "resnet8", 1, classes, 8), *parts, whole.loss, whole.scores)
