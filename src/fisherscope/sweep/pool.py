"""Train runs in worker processes; if one dies, only its run is retried, once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import fisherscope as fs
from fisherscope.sweep.worker import THREAD_VARIABLES, work
from fisherscope.training import Configuration
from fisherscope.training.interruption import Interruption, deferred_signals

Event = Callable[[str, str, Any], None]
"""(kind, run id, value): ("start", id, None), ("epoch", id, row) or ("end", id, (status, reason))."""


@dataclass
class Worker:
    """Hold a process, our end of its pipe, and the configuration it trains."""

    process: Any
    pipe: Connection
    busy: Configuration | None = None


@dataclass
class WorkerPool:
    """Train configurations in `jobs` processes.

    Args:
        root: Directory of the runs.
        jobs: Number of processes.
        until: As for `train`.
        data_dir: As for `train`.
        event: Called at every start, epoch and end.
    """

    root: Path
    jobs: int
    until: int | None
    data_dir: str | None
    event: Event
    ends: dict[str, tuple[str, str]] = field(default_factory=dict)
    stopped: bool = False
    """Whether a signal stopped it."""
    _workers: list[Worker] = field(default_factory=list)
    _interruption: Interruption = field(default_factory=Interruption)
    _told: set[str] = field(default_factory=set)

    def run(self, configurations: Sequence[Configuration]) -> dict[str, tuple[str, str]]:
        """Train the configurations; at SIGINT or SIGTERM, stop once the running ones are saved.

        Returns:
            (status, reason) by run id.
        """
        queue, retries = deque(configurations), set[str]()
        with _single_threads(), deferred_signals() as self._interruption:
            try:
                while (queue and not self.stopped) or any(worker.busy for worker in self._workers):
                    self._dispatch(queue)
                    self._receive(queue, retries)
                    if self._interruption.reason and not self.stopped:
                        self._stop()
            finally:
                self._close()
        return self.ends

    @property
    def signal(self) -> int | None:
        """Number of the signal that stopped it; None if none did."""
        return self._interruption.number if self.stopped else None

    def _stop(self) -> None:
        """Ask busy workers to save and stop; the signal may have reached this process alone.

        A worker that had it already takes both for one (`deferred_signals`).
        """
        self.stopped = True
        for worker in self._workers:
            if worker.busy:
                worker.process.terminate()

    def _dispatch(self, queue: deque[Configuration]) -> None:
        """Give each idle worker a configuration, starting workers up to `jobs`."""
        while queue and not self.stopped:
            worker = next((w for w in self._workers if w.busy is None), None)
            if worker is None and len(self._workers) >= self.jobs:
                return
            worker = worker or self._start()
            worker.busy = queue.popleft()
            worker.pipe.send(worker.busy.model_dump())
            self.event("start", worker.busy.id, None)

    def _start(self) -> Worker:
        """Start a worker process."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=work, args=(theirs, str(self.root), self.until, self.data_dir), daemon=True
        )
        with _block_signals():  # they are sent to a whole group, and would kill a child that is importing
            process.start()
        theirs.close()
        self._workers.append(Worker(process, ours))
        return self._workers[-1]

    def _receive(self, queue: deque[Configuration], retries: set[str]) -> None:
        """Receive messages of workers, or notice that one has died."""
        ready = wait([worker.pipe for worker in self._workers], timeout=0.5)
        for worker in [w for w in self._workers if w.pipe in ready]:
            try:
                message = worker.pipe.recv()
            except (EOFError, ConnectionResetError):
                self._on_worker_death(worker, queue, retries)
                continue
            if message[0] == "epoch":
                self.event("epoch", message[1], message[2])
            elif message[0] == "changed":
                self._on_changed_run(worker, message[2])
            else:
                self._on_run_end(worker, message[1], message[2], message[3])

    def _on_worker_death(self, worker: Worker, queue: deque[Configuration], retries: set[str]) -> None:
        """Queue the run of a dead worker once more, or report that it failed."""
        worker.process.join()
        self._workers.remove(worker)
        config = worker.busy
        if config is None:
            return
        how = _exit_description(worker.process.exitcode)
        if self.stopped or self._interruption.reason:
            self.ends[config.id] = ("interrupted", self._recorded_progress(config))
            self.event("end", config.id, self.ends[config.id])
        elif config.id in retries:
            self.ends[config.id] = ("failed", f"its process died twice: {how}")
            self.event("end", config.id, self.ends[config.id])
        else:
            retries.add(config.id)
            queue.append(config)
            self.event("end", config.id, ("died", f"{how}; the run is retried once"))

    def _recorded_progress(self, config: Configuration) -> str:
        """Say how far a run has come, by what its directory says."""
        try:
            epochs = len(fs.runs.epoch_rows(config.path_in(self.root)))
        except fs.runs.RunError:
            epochs = 0
        return f"after epoch {epochs}; resumable" if epochs else "before its first epoch ended; resumable"

    def _on_changed_run(self, worker: Worker, where: str) -> None:
        """Say once that runs of earlier data or an earlier model are trained anew."""
        config = worker.busy
        if config is not None and where not in self._told:
            self._told.add(where)
            warnings.warn(
                f"what {config.task} computes has changed since runs of {self.root} were trained; they are "
                f"kept in {where}, and trained anew",
                stacklevel=2,
            )

    def _on_run_end(self, worker: Worker, run_id: str, status: str, reason: str) -> None:
        worker.busy = None
        self.ends[run_id] = (status, reason)
        self.event("end", run_id, (status, reason))

    def _close(self) -> None:
        """End all workers, terminating those that do not end within 30 seconds."""
        for worker in self._workers:
            with suppress(OSError):  # it has ended already
                worker.pipe.send(None)
        deadline = time.monotonic() + 30
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.terminate()
            worker.pipe.close()
        self._workers.clear()


def _exit_description(code: int | None) -> str:
    """Describe how a process ended by its exit code."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"it exited with {code}"


@contextmanager
def _single_threads() -> Iterator[None]:
    """Start workers with one thread each, whatever the environment says."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _block_signals() -> Iterator[None]:
    """Block SIGINT and SIGTERM until the block ends, also in processes started in it.

    Such a process lets SIGTERM in once it can handle it (`worker.unblock_signals`), and never SIGINT.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # starting it with the first process would unblock the signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
