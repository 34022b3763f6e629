"""The branching point: a recorded run's last checkpoint, frozen beside the branches."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

import fisherscope as fs
from fisherscope.branching.errors import BranchError
from fisherscope.runs.paths import CHECKPOINT
from fisherscope.tasks import check_trust
from fisherscope.training import Configuration, ConfigurationError, frozen_path
from fisherscope.training.initial_state import restore_state, task_of
from fisherscope.training.train_state import TrainState

STATE = ("model", "optimizer", "scaler")
"""Parts of a run's state that a branch begins with."""


@dataclass(frozen=True)
class BranchingPoint:
    """Describe where branches begin.

    Args:
        name: Name of the frozen state; holds a digest of weights and optimizer state.
        run: Name of the run.
        task: Its task.
        optimizer: Its optimizer.
        epoch: Completed epochs.
        step: Optimizer steps.
        samples: Samples in these steps.
        training_samples: Samples of the training data.
        batch_size: Batch size of the next step.
        lr: Learning rate of the next step.
        adaptive: Whether the optimizer has betas.
        loss: Validation loss.
        run_ended: Whether the run had finished, its rate decayed.
    """

    name: str
    run: str
    task: str
    optimizer: str
    epoch: int
    step: int
    samples: int
    training_samples: int
    batch_size: int
    lr: float
    adaptive: bool
    loss: float
    run_ended: bool


def freeze(
    path: Path, root: Path, data_dir: str | os.PathLike[str] | None = None, task: str | None = None
) -> tuple[BranchingPoint, Configuration]:
    """Copy weights and optimizer state of a run's last checkpoint to where branches find them.

    Args:
        path: The run's directory.
        root: Directory of the branches.
        data_dir: Directory of the data files.
        task: The run's task, needed if it is code outside the package.

    Returns:
        The branching point, and the run's configuration.

    Raises:
        BranchError: The run diverged, or was not trained by fisherscope.
        RunError: There is no checkpoint, or it or the frozen state is damaged.
        TaskError, DataError: The task is not trusted or wrong, or data are missing.

    Cost: one evaluation of the validation split, the first time.
    """
    config = _configuration(path, task)
    state = fs.runs.checkpoint_state(path)
    missing = [key for key in (*STATE, "sampler") if not isinstance(state, Mapping) or key not in state]
    if missing:
        raise BranchError(f"branching {path}: its checkpoint has no {missing[0]}; it is not one of train's")
    name = f"at-{_digest({key: state[key] for key in STATE})}"
    frozen = frozen_path(root, name)
    if (frozen / CHECKPOINT).exists():
        return BranchingPoint(**fs.runs.checkpoint_state(frozen)["point"]), config
    point = _point(path, name, state, config, data_dir)
    if not math.isfinite(point.loss):
        raise BranchError(
            f"branching {path}: its validation loss at the checkpoint is {point.loss}; give a run, or an "
            "earlier moment of it, whose loss is finite"
        )
    with fs.open_run(frozen, {"frozen": name}, restart=True) as run:
        run.save_checkpoint({**{key: state[key] for key in STATE}, "point": asdict(point)})
    return point, config


def _configuration(path: Path, task: str | None) -> Configuration:
    """Return the configuration of a run that can be branched."""
    if not fs.runs.is_run(path):
        holds = next(fs.runs.run_directories(path), None) if path.is_dir() else None
        what = f"it holds runs, such as {holds}; give one of them" if holds else "it is no run's directory"
        raise BranchError(f"branching {path}: {what}")
    head = fs.runs.run_head(path)
    if fs.runs.status(path) == "diverged":
        raise BranchError(
            f"branching {path}: it diverged ({head['reason']}); branch a run with another learning rate, or "
            "train this one again up to an earlier epoch (--until)"
        )
    recorded = head["config"]
    check_trust(str(recorded.get("task", "")), task)
    try:
        return Configuration.of({**recorded, "threads": 1})
    except ConfigurationError as error:
        raise BranchError(
            f"branching {path}: it was not trained by fisherscope train ({error}); branches need a task "
            "and a configuration that they can train"
        ) from error


def _point(
    path: Path,
    name: str,
    state: Mapping[str, Any],
    config: Configuration,
    data_dir: str | os.PathLike[str] | None,
) -> BranchingPoint:
    trained = TrainState(config, task_of(config, data_dir))
    restore_state(trained, state, path, trained.begin_with)
    sampler, batch = state["sampler"], state["sampler"]["queue"][0]
    decision, groups = batch["decision"], state["optimizer"]["param_groups"]
    return BranchingPoint(
        name=name,
        run=path.resolve().name,
        task=config.task,
        optimizer=type(trained.optimizer).__name__,
        epoch=batch["epoch"],
        step=sampler["steps"],
        samples=batch["epoch"] * sampler["length"] + batch["start"],
        training_samples=sampler["length"],
        batch_size=decision["batch_size"],
        lr=decision["lr"],
        adaptive="betas" in groups[0],
        loss=trained.task.evaluate(trained.model, "validation", device=trained.device).loss,
        run_ended=fs.runs.has_ended(path),
    )


def _digest(state: Mapping[str, Any]) -> str:
    """Return hexadecimal digits of the tensors and plain values of a state."""
    digest = hashlib.sha256()
    for name, value in _leaves(state, ""):
        digest.update(f"{name}:".encode())
        if isinstance(value, Tensor):
            digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(-1).numpy().tobytes())
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()[:12]


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield from _leaves(value[key], f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for k, part in enumerate(value):
            yield from _leaves(part, f"{name}.{k}")
    else:
        yield name, value
