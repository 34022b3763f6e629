"""What a run trains: the paper's data and networks by name, and a user's own on the same terms."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from fisherscope.tasks import models
from fisherscope.tasks.datasets.digits import digits
from fisherscope.tasks.datasets.files import data_dir as _data_dir
from fisherscope.tasks.datasets.images import Images
from fisherscope.tasks.datasets.vision import cifar10, cifar100, mnist, svhn
from fisherscope.tasks.errors import DataError, TaskError
from fisherscope.tasks.factory import own
from fisherscope.tasks.sanity_check import tried
from fisherscope.tasks.task import (
    Evaluation,
    Split,
    Task,
    classification,
    cross_entropy,
    held_out,
)
from fisherscope.tasks.user_code import told
from fisherscope.tasks.workload import TEMPLATE, Subject, subject, subject_of

__all__ = [
    "TEMPLATE",
    "DataError",
    "Evaluation",
    "Split",
    "Subject",
    "Task",
    "TaskError",
    "check_name",
    "get",
    "names",
    "subject",
    "subject_of",
    "told",
    "tried",
]

Made = tuple[Split, Split, Split, tuple[str, ...]]
VALIDATION_SHARE, LARGEST_VALIDATION = 0.1, 5000


def get(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    validation: bool = True,
    augment: bool | None = None,
) -> Task:
    """A task by name.

    Args:
        name: "digits/resnet8", "mnist/mlp", …: one of `names()`; or "module:function" of your own.
        data_dir: Where the data files lie or shall be put; else FISHERSCOPE_DATA, else ~/.cache/fisherscope.
        validation: Whether a tenth of the training data (5000 at most) is held out, the same for every seed.
            Without, all are trained on and the test split stands in for validation, as in the paper.
        augment: Whether training images are moved at random, and mirrored where that makes sense; by default
            only those of CIFAR.

    Raises:
        TaskError: No such task, or none whose images can be moved.
        DataError: Its data are missing or damaged.
    """
    if ":" in name:
        if augment is not None:
            raise TaskError(f"task {name!r}: augment={augment} is for the published images; augment your own")
        return own(name)
    check_name(name)
    data, _, network = name.partition("/")
    make, channels, classes, side = _DATA[data]
    train, held, test, notes = make(_data_dir(data_dir), validation, augment)
    return Task(
        name, partial(models.build, network, channels, classes, side), train, held, test, cross_entropy,
        classification, notes=notes,
    )  # fmt: skip


def check_name(name: str) -> None:
    """Refuse a name that no task can have; whether `module:function` is there shows when it is called.

    Raises:
        TaskError: No such built-in task; the nearest names are said.
    """
    if ":" in name or name in names():
        return
    near = difflib.get_close_matches(name, names(), 3, 0.4)
    hint = f"; near: {', '.join(near)}" if near else f"; there are {', '.join(names())}"
    raise TaskError(f"there is no task {name!r}{hint}, or module:function of your own")


def names() -> list[str]:
    """Every built-in task."""
    return [f"{data}/{network}" for data in _DATA for network in models.NAMES]


def _digits(folder: Path, validation: bool, augment: bool | None) -> Made:
    if augment:
        raise TaskError("digits: augment=True, but images of 8×8 are too small to be moved by 4")
    train, held, test = digits()
    return train, held if validation else test, test, ()


def _published(
    read: Callable[[Path], tuple[Images, Images, tuple[str, ...]]],
    folder: Path,
    validation: bool,
    augment: bool | None,
) -> Made:
    train, test, notes = read(folder)
    train = train if augment is None else replace(train, augment=augment)
    if not validation:
        return train, test, test, (*notes, "validation is the test split, as in the paper")
    rest, held = held_out(train, min(LARGEST_VALIDATION, max(1, round(VALIDATION_SHARE * len(train)))))
    return rest, held, test, notes


_DATA: dict[str, tuple[Callable[[Path, bool, bool | None], Made], int, int, int]] = {
    "digits": (_digits, 1, 10, 8),
    "mnist": (partial(_published, mnist), 1, 10, 32),
    "cifar10": (partial(_published, cifar10), 3, 10, 32),
    "cifar100": (partial(_published, cifar100), 3, 100, 32),
    "svhn": (partial(_published, svhn), 3, 10, 32),
}
