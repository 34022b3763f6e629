"""Make the state that a run begins with: its task, new weights, or those of a frozen state."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import fisherscope as fs
from fisherscope.training.configuration import Configuration
from fisherscope.training.train_state import TrainState

FROZEN = ".start"
"""Hidden directory, among runs, of the states that some of them begin with."""
LONGEST_TEXT = 300
"""Characters of another library's error that are quoted."""


def make_state(
    config: Configuration,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    root: str | os.PathLike[str] | None = None,
) -> TrainState:
    """Make the state of a run that has not begun: task, model, optimizer, sampler and monitor.

    Args:
        config: The run's configuration; its `threads` become torch's.
        data_dir: Directory of the data files, as for `fs.tasks.get`.
        root: Directory of the runs, which holds the frozen state that `config.start` names.

    Returns:
        The state.

    Raises:
        ConfigurationError, TaskError, DataError: The configuration or the task is wrong, or data are missing.
        RunError: The frozen state is missing, damaged, or of another model.

    Example:
        ```python
        from fisherscope.training import Configuration, make_state

        state = make_state(Configuration.of({"task": "digits/mlp", "batch_size": 32}))
        loss = state.step(next(iter(state.sampler)))
        ```
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    state = TrainState(config, task_of(config, data_dir))
    if config.start is not None:
        path = frozen_path(root or ".", config.start)
        restore_state(state, fs.runs.checkpoint_state(path), path, state.begin_with)
    return state


def frozen_path(root: str | os.PathLike[str], name: str) -> Path:
    """Return where a frozen state lies: a run of that name, hidden among the runs that begin with it.

    Args:
        root: Directory of the runs.
        name: The state's name, as `Configuration.start` holds it.

    Returns:
        The directory.

    Example:
        ```python
        from fisherscope.training import frozen_path

        assert frozen_path("runs", "at-3f9c").parent.name == ".start"
        ```
    """
    return Path(root) / FROZEN / name


def restore_state(
    state: TrainState, checkpoint: Any, path: Path, restore: Callable[[Any], None] | None = None
) -> None:
    """Restore the state of a checkpoint.

    Args:
        state: The state, as `make_state` returns it.
        checkpoint: What was saved.
        path: Directory of the run that saved it.
        restore: How; by default all is restored.

    Raises:
        RunError: The checkpoint is of another model, or of another version's state.
    """
    try:
        (restore or state.load_state_dict)(checkpoint)
    except (KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        what = " ".join(str(error).split())[:LONGEST_TEXT]
        raise fs.runs.RunError(
            f"resuming {path}: its checkpoint does not fit what {state.config.task} makes now "
            f"({type(error).__name__}: {what}); restore the earlier model, or delete {path} "
            "to start over"
        ) from error


def task_of(config: Configuration, data_dir: str | os.PathLike[str] | None = None) -> fs.tasks.Task:
    """Get the task that a configuration trains.

    Args:
        config: The configuration.
        data_dir: Directory of the data files, as for `fs.tasks.get`.

    Returns:
        The task, limited to `config.limit_train` samples, in epochs of `config.segment`.

    Raises:
        TaskError, DataError: The task is unknown or wrong, or its data are missing or damaged.
        ValueError: `limit_train` is above the number of samples.

    Example:
        ```python
        from fisherscope.training import Configuration, task_of

        config = Configuration.of({"task": "digits/mlp", "batch_size": 32, "limit_train": 64})
        assert len(task_of(config).train) == 64
        ```
    """
    task = fs.tasks.get(
        config.task, data_dir, validation=config.validation, augment=config.augment, extra=config.extra
    )
    if config.limit_test is not None:
        task = task.evaluated_on(config.limit_test)
    task = task if config.limit_train is None else task.limited(config.limit_train)
    return task if config.segment is None else task.in_segments(config.segment, config.seed)
