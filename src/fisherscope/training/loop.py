"""The built-in training loop. It uses public names only: a loop of your own has the same rights."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import fisherscope as fs
from fisherscope.training.configuration import Configuration
from fisherscope.training.train_state import TrainState

CHECKPOINT_SECONDS = 20.0
LONGEST_TEXT = 300
"""Characters of another library's error that are passed on."""
Progress = Callable[[TrainState, "dict[str, Any] | None"], None]
"""Called after each step with None, and after each epoch with its row."""


@dataclass(frozen=True)
class Result:
    """How a run stands after `train`."""

    path: Path
    id: str
    status: str
    reason: str
    epochs: int


def train(
    config: Configuration | Mapping[str, Any],
    root: str | os.PathLike[str],
    *,
    until: int | None = None,
    progress: Progress | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Result:
    """Train one run to its end, going on with it where it exists already.

    Args:
        config: What makes the run; a mapping is checked.
        root: Directory of the experiment; the run gets a directory of its own name in it.
        until: Stop, resumable, when so many epochs are complete; the schedule stays that of `config.epochs`.
        progress: Told of every step and epoch; a BrokenPipeError of it interrupts, as a signal does.
        data_dir: Where the data files lie.
        checkpoint_seconds: How often the state is saved, besides at the end of the call.

    Returns:
        How it stands: finished, diverged, or interrupted (by `until`, SIGINT, SIGTERM or `progress`: then
        resumable).

    Raises:
        ConfigurationError, TaskError, DataError, RunError: What the user can mend; nothing recorded is lost.
    """
    config = Configuration.of(config)
    if until is not None and until < 1:
        raise ValueError(f"training until epoch {until}: expected at least 1")
    path = Path(root) / config.id
    exists = fs.runs.is_run(path)  # if the directory may not be read, opening it raises the error
    session = None if exists else _session(config, data_dir)  # a mistake is told before anything is written
    with _interrupts() as interrupted, fs.open_run(path, config.identity()) as run:
        state = run.load_checkpoint()
        if fs.runs.has_ended(path):
            done = config.epochs if run.status == "finished" else 0
            return Result(run.path, run.id, run.status, run.reason, done)
        session = session or _session(config, data_dir)
        session.monitor.run = run
        if state is not None:
            _restored(session, state, path)
        else:
            for note in session.task.notes:
                run.log_text(note)
        last = min(until or config.epochs, config.epochs)
        status, reason = _run(session, run, last, progress, checkpoint_seconds, interrupted)
        run.finish(status, reason)
    return Result(run.path, run.id, status, reason, session.sampler.epoch)


def _session(config: Configuration, data_dir: str | os.PathLike[str] | None) -> TrainState:
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    return TrainState(config, task_of(config, data_dir))


def _restored(session: TrainState, state: Any, path: Path) -> None:
    """Put the session to where the checkpoint was taken.

    Raises:
        RunError: It is of another model, or of another version's session.
    """
    try:
        session.load_state_dict(state)
    except (KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        what = " ".join(str(error).split())[:LONGEST_TEXT]
        raise fs.runs.RunError(
            f"going on with {path}: its checkpoint does not fit what {session.config.task} makes now "
            f"({type(error).__name__}: {what}); put the model back as it was, or delete {path} "
            "to begin it anew"
        ) from error


def task_of(config: Configuration, data_dir: str | os.PathLike[str] | None = None) -> fs.tasks.Task:
    """The task that a configuration trains.

    Raises:
        TaskError, DataError: There is no such task, or its data are missing or damaged.
    """
    task = fs.tasks.get(config.task, data_dir, validation=config.validation, augment=config.augment)
    return task if config.limit_train is None else task.limited(config.limit_train)


def _run(
    session: TrainState,
    run: Any,
    until: int,
    progress: Progress | None,
    checkpoint_seconds: float,
    interrupted: list[str],
) -> tuple[Any, str]:
    """Epochs up to `until`: (status, reason)."""
    saved = time.monotonic()
    while session.sampler.epoch < until:
        for indices in session.sampler:
            loss = session.step(indices)
            if session.diverged():
                return "diverged", _divergence(session, float(loss))
            row = None
            if session.sampler.current.start == 0:  # before the state is saved: an epoch ends with its row
                row = session.epoch_row()
                run.log_epoch(row)
            if progress is not None:
                try:
                    progress(session, row)
                except BrokenPipeError:  # as in `train … | head`
                    interrupted.append("the end of whoever read its progress,")
            if interrupted:
                run.save_checkpoint(session.state_dict())
                return "interrupted", f"by {interrupted[0]} in epoch {session.sampler.epoch}; resumable"
            if time.monotonic() - saved > checkpoint_seconds:
                run.save_checkpoint(session.state_dict())
                saved = time.monotonic()
    if session.sampler.epoch == session.config.epochs:
        run.log_outcomes(**session.outcomes())
    run.save_checkpoint(session.state_dict())
    if session.sampler.epoch < session.config.epochs:
        return "interrupted", f"stopped after epoch {session.sampler.epoch}, as asked; resumable"
    return "finished", ""


def _divergence(session: TrainState, loss: float) -> str:
    return f"the loss became {loss} at step {session.done.step}, in epoch {session.done.epoch + 1}"


@contextmanager
def _interrupts() -> Iterator[list[str]]:
    """The names of SIGINT and SIGTERM as they come, in place of an exception in the middle of a step.

    It spans the run's opening and end, so that neither is cut in two. A second one is not held back. Outside
    the main thread Python delivers none, and nothing is changed.
    """
    seen: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return

    def note(number: int, _: Any) -> None:
        seen.append(signal.Signals(number).name)
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
