"""Get tasks by name: the built-in data and networks, or a user's factory."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from fisherscope.plain_text import short_repr
from fisherscope.tasks import gpt, models
from fisherscope.tasks.datasets.digits import digits
from fisherscope.tasks.datasets.files import data_dir as data_directory
from fisherscope.tasks.datasets.images import Images
from fisherscope.tasks.datasets.text import Windows, tinystories, topics, wikitext
from fisherscope.tasks.datasets.vision import cifar10, cifar100, mnist, svhn
from fisherscope.tasks.errors import TaskError
from fisherscope.tasks.factory import load_task
from fisherscope.tasks.split import Split, hold_out
from fisherscope.tasks.task import Task, classification, cross_entropy

Splits = tuple[Split, Split, Split, tuple[str, ...]]
"""Training, validation and test split, and notes on them."""
VALIDATION_SHARE, LARGEST_VALIDATION = 0.1, 5000


def get(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    validation: bool = True,
    augment: bool | None = None,
    extra: bool | None = None,
) -> Task:
    """Get a task by name.

    Args:
        name: A built-in task, one of `names()`, such as "digits/resnet8"; or "module:function" or
            "file.py:function", a factory of your own.
        data_dir: Directory of the data files; by default FISHERSCOPE_DATA, else ~/.cache/fisherscope. Missing
            files are downloaded into it.
        validation: Whether to hold out a tenth of the training data (at most 5000 samples), the same for
            every seed. If not, all of it is trained on and the test split is the validation split too, as in
            Liao et al. 2020.
        augment: Whether to crop training images at random, and mirror them where that makes sense; by default
            for CIFAR only.
        extra: Whether to train on SVHN's extra set too (531 131 images, a download of 1.3 GB), as in Liao et
            al. 2020; by default where its file is.

    Returns:
        The task. Its images are float32 (n, channels, height, width), its labels int64 (n,); a text's samples
        are windows of bytes, int64 (n, context), with the bytes that follow.

    Raises:
        TaskError: The name is unknown, the factory failed, or `augment` or `extra` does not apply.
        DataError: The data files are missing or damaged.

    Cost: reading the data; a download the first time.

    Example:
        ```python
        task = fs.tasks.get("digits/mlp")
        images, labels = task.batch("train", range(8))
        assert images.shape == (8, 1, 8, 8)
        ```
    """
    if extra is not None and not name.startswith("svhn/"):
        raise TaskError(f"getting task {name!r}: extra={extra}, but only SVHN has an extra set; leave it out")
    if ":" in name:
        if augment is not None:
            raise TaskError(
                f"getting task {name!r}: augment={augment} applies to built-in image data only; augment the "
                "samples in your own data set"
            )
        return load_task(name)
    check_name(name)
    data, _, network = name.partition("/")
    if data in _TEXTS:
        return _text_task(name, data_directory(data_dir), validation, augment)
    read_splits, channels, classes, side = _DATA[data]
    if extra is not None:
        read_splits = partial(_image_splits, partial(svhn, extra=extra))
    train, validation_split, test, notes = read_splits(data_directory(data_dir), validation, augment)
    return Task(
        name, partial(models.build, network, channels, classes, side), train, validation_split, test,
        cross_entropy, classification, notes=notes,
    )  # fmt: skip


def check_name(name: str) -> None:
    """Check that a task can have this name; a factory itself is looked up when it is called.

    Args:
        name: As for `get`.

    Raises:
        TaskError: There is no built-in task of this name; the nearest names are suggested.

    Example:
        ```python
        fs.tasks.check_name("digits/resnet8")
        ```
    """
    if ":" in name or name in names():
        return
    near = difflib.get_close_matches(name[:80], names(), 3, 0.4)
    hint = f"did you mean {', '.join(near)}" if near else f"expected one of {', '.join(names())}"
    raise TaskError(f"unknown task {short_repr(name)}; {hint}, or module:function of your own")


def check_trust(name: str, given: str | None, options: str = "--task") -> None:
    """Check that code which a run directory names was asked for by the user too.

    A run directory may be another's: reading it must not run code of its choice.

    Args:
        name: Task that a run names.
        given: Task that the user named, if any.
        options: Options of the command by which to name it.

    Raises:
        TaskError: The task is outside the package, and the user did not name it.

    Example:
        ```python
        fs.tasks.check_trust("digits/mlp", None)
        fs.tasks.check_trust("mine.py:factory", "mine.py:factory")
        ```
    """
    if ":" in name and name != given:
        raise TaskError(
            f"the runs name the task {short_repr(name)}, code outside fisherscope, which is not run only "
            f"because a run directory names it; if you trust it, name it yourself: {options} {name[:200]}"
        )


def names() -> list[str]:
    """List the built-in tasks.

    Returns:
        Names that `get` takes, such as "digits/resnet8".

    Example:
        ```python
        assert "digits/mlp" in fs.tasks.names()
        ```
    """
    images = [f"{data}/{network}" for data in _DATA for network in models.NAMES]
    return images + [f"{data}/{network}" for data in _TEXTS for network in gpt.SHAPES]


def settings(name: str) -> dict[str, Any]:
    """Return the settings that a built-in task is trained with where none are given.

    Args:
        name: A task's name.

    Returns:
        Keys of `fisherscope.training.Configuration`; empty for all but the texts' networks, which are
        trained by AdamW on a cosine.

    Example:
        ```python
        assert fs.tasks.settings("text/gpt-mini")["optimizer"] == "AdamW"
        assert not fs.tasks.settings("digits/mlp")
        ```
    """
    data, _, network = name.partition("/")
    return dict(gpt.SETTINGS.get(network, {})) if data in _TEXTS else {}


def _digits_splits(folder: Path, validation: bool, augment: bool | None) -> Splits:
    if augment:
        raise TaskError("task digits: augment=True, but images of 8×8 are too small to be moved by 4 pixels")
    train, validation_split, test = digits()
    return train, validation_split if validation else test, test, ()


def _image_splits(
    read: Callable[[Path], tuple[Images, Images, tuple[str, ...]]],
    folder: Path,
    validation: bool,
    augment: bool | None,
) -> Splits:
    train, test, notes = read(folder)
    train = train if augment is None else replace(train, augment=augment)
    if not validation:
        return train, test, test, (*notes, "validation is the test split, as in the paper")
    samples = min(LARGEST_VALIDATION, max(1, round(VALIDATION_SHARE * len(train))))
    return *hold_out(train, samples), test, notes


def _text_task(name: str, folder: Path, validation: bool, augment: bool | None) -> Task:
    if augment is not None:
        raise TaskError(f"getting task {name!r}: augment={augment} applies to images; leave it out")
    data, _, network = name.partition("/")
    shape = gpt.SHAPES[network]
    train, validation_split, test = _TEXTS[data](folder, shape.context)
    return Task(
        name, partial(gpt.GPT, shape), train, validation_split if validation else test, test,
        gpt.next_token_loss, gpt.next_token_scores, metric="loss",
    )  # fmt: skip


_TEXTS: dict[str, Callable[[Path, int], tuple[Windows, Windows, Windows]]] = {
    "text": lambda folder, context: topics(context),
    "tinystories": tinystories,
    "wikitext2": partial(wikitext, "wikitext2"),
    "wikitext103": partial(wikitext, "wikitext103"),
}
"""By text: reader of its training, validation and test split."""
_DATA: dict[str, tuple[Callable[[Path, bool, bool | None], Splits], int, int, int]] = {
    "digits": (_digits_splits, 1, 10, 8),
    "mnist": (partial(_image_splits, mnist), 1, 10, 32),
    "cifar10": (partial(_image_splits, cifar10), 3, 10, 32),
    "cifar100": (partial(_image_splits, cifar100), 3, 100, 32),
    "svhn": (partial(_image_splits, svhn), 3, 10, 32),
}
"""By data set: reader of its splits, channels, classes, height and width."""
