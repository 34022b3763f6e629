"""Train a run to its end, by public names only: a loop of your own can do the same."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fisherscope as fs
from fisherscope.training.computed_identity import computed_identity
from fisherscope.training.configuration import Configuration
from fisherscope.training.initial_state import make_state, restore_state
from fisherscope.training.interruption import Interruption, deferred_signals
from fisherscope.training.train_state import TrainState

CHECKPOINT_SECONDS = 20.0
Progress = Callable[[TrainState, "dict[str, Any] | None"], None]
"""Called after each step with None, and after each epoch with its row."""


@dataclass(frozen=True)
class Result:
    """Hold how a run stands after `train`.

    Args:
        path: The run directory.
        id: The run's name.
        status: "finished", "diverged" or "interrupted".
        reason: Why it diverged or was interrupted.
        epochs: Complete epochs.
        signal: Number of the signal that interrupted it, such as 15 for SIGTERM; None if none did.

    Example:
        See `train`.
    """

    path: Path
    id: str
    status: str
    reason: str
    epochs: int
    signal: int | None = None


def train(
    config: Configuration | Mapping[str, Any],
    root: str | os.PathLike[str],
    *,
    until: int | None = None,
    progress: Progress | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Result:
    """Train one run to its end, resuming it if it exists.

    Args:
        config: The configuration, or a mapping of its values.
        root: Directory of the experiment; the run gets a directory of its own name in it.
        until: Stop, resumable, after this number of epochs; the schedule stays that of `config.epochs`.
        progress: Called after each step with (state, None) and after each epoch with (state, row). A
            BrokenPipeError that it raises interrupts the run, as a signal does.
        data_dir: Directory of the data files, as for `fs.tasks.get`.
        checkpoint_seconds: Seconds between two checkpoints; one more is saved at the end of the call.

    Returns:
        How the run stands: finished, diverged, or interrupted (by `until`, SIGINT, SIGTERM or `progress`),
        which a second call resumes.

    Raises:
        ConfigurationError: A value of the configuration is wrong.
        TaskError, DataError: The task is wrong, or its data are missing or damaged.
        RunError: The run cannot be opened or resumed; nothing recorded is lost.
        ChangedRunError: Data, model or loss are not those that the run began with.
        KeyboardInterrupt, SystemExit: SIGINT or SIGTERM came while data and model were loading.
        ValueError: `until` is below 1.

    Example:
        ```python
        from fisherscope.training import train

        result = train({"task": "digits/mlp", "batch_size": 64, "epochs": 1}, "runs/trained")
        assert result.status == "finished"
        ```
    """
    config = Configuration.of(config)
    if until is not None and until < 1:
        raise ValueError(f"training until epoch {until}: expected at least 1")
    path = config.path_in(root)
    if (result := _result_of_finished_run(config, path)) is not None:
        return result
    exists = fs.runs.is_run(path)  # if the directory may not be read, opening it raises the error
    state = None if exists else make_state(config, data_dir, root=root)  # raises before anything is written
    with (
        deferred_signals() as signals,
        fs.open_run(path, _recorded_identity(config, path), environment=_numbered_device(config)) as run,
    ):
        if run.status in ("finished", "diverged"):  # by another process, since we looked
            return _result(config, run)
        if state is None:
            with signals.acting():  # nothing is lost by stopping at once
                state = make_state(config, data_dir, root=root)
        run.identify(computed_identity(state))
        with signals.acting():
            checkpoint = run.load_checkpoint()
            if checkpoint is not None:
                restore_state(state, checkpoint, path)
        state.monitor.run = run
        if checkpoint is None:
            for note in state.task.notes:
                run.log_text(note)
        last = min(until or config.epochs, config.epochs)
        status, reason = _train_epochs(state, run, last, progress, checkpoint_seconds, signals)
        if status == "finished" and (why := fs.runs.dead_reason(fs.runs.epoch_rows(path))):
            reason = f"its network is dead: {why}"
        run.finish(status, reason)
    number = signals.number if status == "interrupted" else None
    return Result(run.path, run.id, status, reason, state.sampler.epoch, number)


def _result_of_finished_run(config: Configuration, path: Path) -> Result | None:
    """Return how a run stands that has nothing left to train; a read-only disk will do."""
    try:
        if not fs.runs.has_ended(path):
            return None
        head = fs.runs.run_head(path)
    except fs.runs.RunError:
        return None  # opening it raises the error
    ours, theirs = _recorded_identity(config, path), head["config"]
    if any(ours.get(key) != theirs.get(key) for key in {*ours, *theirs}):
        return None  # likewise
    earlier, now = head.get("computes", {}).get("file"), fs.tasks.file_digest(config.task)
    if earlier is not None and now is not None and earlier != now:
        warnings.warn(
            f"{config.task} has changed since {path} was trained; its results are those of the earlier code. "
            "Give another directory to train the present one",
            stacklevel=3,
        )
    epochs = config.epochs if head["status"] == "finished" else 0
    return Result(path, path.name, str(head["status"]), str(head["reason"]), epochs)


def _recorded_identity(config: Configuration, path: Path) -> dict[str, Any]:
    """Return the identity that the run of `path` has: version 0.1 wrote the device with its number."""
    identity = config.identity()
    if path.name != config.id:
        try:
            device = str(fs.runs.run_head(path)["config"].get("device"))
        except (fs.runs.RunError, FileNotFoundError):
            return identity  # opening it raises the error
        if device.partition(":")[0] == config.device_type:
            identity["device"] = device
    return identity


def _numbered_device(config: Configuration) -> dict[str, str] | None:
    """Return which of several devices trains, for the run's environment."""
    return None if config.device == config.device_type else {"device": config.device}


def _result(config: Configuration, run: fs.Run) -> Result:
    epochs = config.epochs if run.status == "finished" else 0
    return Result(run.path, run.id, run.status, run.reason, epochs)


def _train_epochs(
    state: TrainState,
    run: Any,
    until: int,
    progress: Progress | None,
    checkpoint_seconds: float,
    signals: Interruption,
) -> tuple[Any, str]:
    """Train up to epoch `until`; return (status, reason)."""
    checkpoint_time = time.monotonic()
    while state.sampler.epoch < until:
        for indices in state.sampler:
            loss = state.step(indices)
            if state.has_diverged():
                return "diverged", _divergence(state, float(loss))
            row = None
            if state.sampler.current.start == 0:  # before the state is saved: an epoch ends with its row
                row = state.epoch_row()
                run.log_epoch(row)
            if progress is not None:
                try:
                    progress(state, row)
                except BrokenPipeError:  # as in `train … | head`
                    signals.reason = signals.reason or "the end of whoever read its progress,"
            if signals.reason:
                run.save_checkpoint(state.state_dict())
                return "interrupted", f"by {signals.reason} in epoch {state.sampler.epoch}; resumable"
            if time.monotonic() - checkpoint_time > checkpoint_seconds:
                run.save_checkpoint(state.state_dict())
                checkpoint_time = time.monotonic()
    if state.sampler.epoch == state.config.epochs:
        run.log_outcomes(**state.outcomes())
    run.save_checkpoint(state.state_dict())
    if state.sampler.epoch < state.config.epochs:
        return "interrupted", f"stopped after epoch {state.sampler.epoch}, as asked; resumable"
    return "finished", ""


def _divergence(state: TrainState, loss: float) -> str:
    batch = state.last_batch
    return f"the loss became {loss} at step {batch.step}, in epoch {batch.epoch + 1}"
