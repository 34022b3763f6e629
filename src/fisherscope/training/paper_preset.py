"""Fill in the settings of Liao et al. 2020, wherever the user gives no other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SEEDS = (0, 1, 2, 3, 4)
_EPOCHS = {"cifar10": 320, "cifar100": 320, "svhn": 40, "mnist": 40}
_DOUBLING = (8, 16, 32, 64, 128, 256, 512)
_RATES = (0.025, 0.05, 0.1, 0.2, 0.4)
_MNIST_SIZES = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
_MNIST_RATES = (0.00625, 0.0125, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8)


def paper_settings(task: str) -> dict[str, Any]:
    """Return the paper's settings of a run, by the keys of `Configuration`.

    Every 50th step is measured, from an epoch's first; c_k is that of a float32 solver's eigenvalues, clamped
    at 0, that are not exactly 0. Test data take the place of validation data, images are augmented, and a run
    has 320 epochs on CIFAR and 40 elsewhere.

    Source: Liao et al. 2020, section 4, and its authors' program (docs/paper.md).

    Args:
        task: Name of the task. Augmentation and SVHN's extra set belong to the paper's data sets only.

    Returns:
        Values by key.

    Example:
        ```python
        from fisherscope.training import Configuration, paper_settings

        config = Configuration.of({"task": "cifar10/resnet110", **paper_settings("cifar10/resnet110")})
        assert (config.epochs, config.rule, config.stride) == (320, "paper", True)
        ```
    """
    data = task.partition("/")[0]
    settings: dict[str, Any] = {
        "every": 50, "stride": True, "rule": "paper", "validation": False, "optimizer": "SGD",
        "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4, "epochs": _EPOCHS.get(data, 40),
    }  # fmt: skip
    if data in _EPOCHS and ":" not in task:
        settings["augment"] = True
    if data == "svhn":
        settings["extra"] = True
    return settings


def paper_grid(task: str) -> dict[str, list[Any]]:
    """Return the paper's grid of batch sizes and learning rates.

    Args:
        task: Name of the task; MNIST has more sizes and rates, DenseNet-110 no size of 512.

    Returns:
        `batch_sizes` and `lrs`.

    Example:
        ```python
        from fisherscope.training import paper_grid

        assert paper_grid("cifar10/densenet110")["batch_sizes"][-1] == 256
        ```
    """
    if task.startswith("mnist/"):
        return {"batch_sizes": list(_MNIST_SIZES), "lrs": list(_MNIST_RATES)}
    sizes = _DOUBLING[:-1] if task.endswith("/densenet110") else _DOUBLING
    return {"batch_sizes": list(sizes), "lrs": list(_RATES)}


def fill_from_paper(given: Mapping[str, Any], *, sweep: bool = False) -> tuple[dict[str, Any], list[str]]:
    """Fill in the paper's settings where none is given; what is given wins, and is named.

    Args:
        given: Settings of a run, or axes and settings of a grid, with `task`.
        sweep: Whether they are of a grid: it gets five seeds, and the paper's grid if it has neither sizes
            nor policies.

    Returns:
        The settings, and a sentence for each given value that differs from the paper's.

    Example:
        ```python
        from fisherscope.training import fill_from_paper

        values, notes = fill_from_paper({"task": "mnist/mlp", "epochs": 2})
        assert (values["epochs"], values["stride"], len(notes)) == (2, True, 1)
        ```
    """
    task = str(given["task"])
    paper = paper_settings(task)
    if given.get("per_epoch") is not None:  # excludes a stride
        paper["stride"] = False
        del paper["every"]
    if sweep:
        paper["seeds"] = list(SEEDS)
        if given.get("batch_sizes") is None and given.get("policies") is None:
            paper |= paper_grid(task)
    present = {key: value for key, value in given.items() if value is not None}
    notes = [
        f"{key} = {_text(present[key])}, as given, wins over the paper's {_text(paper[key])}"
        for key in paper
        if key in present and _plain(present[key]) != _plain(paper[key])
    ]
    if given.get("per_epoch") is not None:
        notes.append(f"per_epoch = {given['per_epoch']}, as given, wins over the paper's every 50th step")
    if "augment" not in paper and "augment" not in present:
        notes.append(f"{task} is none of the paper's data sets: its samples are not augmented")
    return {**paper, **present}, notes


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
