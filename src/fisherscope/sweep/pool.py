"""Runs side by side in worker processes: a death costs one retry of one run."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from fisherscope.sweep.worker import THREAD_VARIABLES, work
from fisherscope.training import Configuration

Event = Callable[[str, str, Any], None]
"""(kind, run id, what): "start" None, "epoch" its row, "end" (status, reason)."""


@dataclass
class Worker:
    """A process, our end of its pipe, and what it is busy with."""

    process: Any
    pipe: Connection
    busy: Configuration | None = None


@dataclass
class WorkerPool:
    """Trains configurations in `jobs` processes.

    Args:
        root: Directory of the runs.
        jobs: Processes.
        until: As for `train`.
        data_dir: As for `train`.
        event: Told of every start, epoch and end.
    """

    root: Path
    jobs: int
    until: int | None
    data_dir: str | None
    event: Event
    ends: dict[str, tuple[str, str]] = field(default_factory=dict)
    stopped: bool = False
    """Whether a signal ended it before its time."""
    _workers: list[Worker] = field(default_factory=list)

    def run(self, configurations: Sequence[Configuration]) -> dict[str, tuple[str, str]]:
        """(status, reason) of each by run id; SIGINT or SIGTERM end it, when the running ones have saved."""
        queue, retried = deque(configurations), set[str]()
        with _single_threads(), _interrupted() as signals:
            try:
                while (queue and not self.stopped) or any(worker.busy for worker in self._workers):
                    self._hand_out(queue)
                    self._hear(queue, retried)
                    if signals and not self.stopped:
                        self._stop()
            finally:
                self._close()
        return self.ends

    def _stop(self) -> None:
        """Ask those that train to save and end; a signal may have come to this process alone."""
        self.stopped = True
        for worker in self._workers:
            if worker.busy:
                worker.process.terminate()

    def _hand_out(self, queue: deque[Configuration]) -> None:
        while queue and not self.stopped:
            worker = next((w for w in self._workers if w.busy is None), None)
            if worker is None and len(self._workers) >= self.jobs:
                return
            worker = worker or self._start()
            worker.busy = queue.popleft()
            worker.pipe.send(worker.busy.identity())
            self.event("start", worker.busy.id, None)

    def _start(self) -> Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=work, args=(theirs, str(self.root), self.until, self.data_dir), daemon=True
        )
        with _held_back(signal.SIGINT):  # a terminal sends it to all; a child that imports would die of it
            process.start()
        theirs.close()
        self._workers.append(Worker(process, ours))
        return self._workers[-1]

    def _hear(self, queue: deque[Configuration], retried: set[str]) -> None:
        """Take what workers say, or that one has died."""
        ready = wait([worker.pipe for worker in self._workers], timeout=0.5)
        for worker in [w for w in self._workers if w.pipe in ready]:
            try:
                message = worker.pipe.recv()
            except (EOFError, ConnectionResetError):
                self._buried(worker, queue, retried)
                continue
            if message[0] == "epoch":
                self.event("epoch", message[1], message[2])
            else:
                self._ended(worker, message[1], message[2], message[3])

    def _buried(self, worker: Worker, queue: deque[Configuration], retried: set[str]) -> None:
        """A worker has died: its run is tried once more, or is given up."""
        worker.process.join()
        self._workers.remove(worker)
        config = worker.busy
        if config is None:
            return
        how = _death(worker.process.exitcode)
        if self.stopped:  # it was not training yet, and so had nothing to save
            self.ends[config.id] = ("interrupted", "before it trained; resumable")
            self.event("end", config.id, self.ends[config.id])
        elif config.id in retried:
            self.ends[config.id] = ("failed", f"its process died twice: {how}")
            self.event("end", config.id, self.ends[config.id])
        else:
            retried.add(config.id)
            queue.append(config)
            self.event("end", config.id, ("died", f"{how}; it is tried once more"))

    def _ended(self, worker: Worker, run_id: str, status: str, reason: str) -> None:
        worker.busy = None
        self.ends[run_id] = (status, reason)
        self.event("end", run_id, (status, reason))

    def _close(self) -> None:
        for worker in self._workers:
            with suppress(OSError):  # it has gone already
                worker.pipe.send(None)
        deadline = time.monotonic() + 30
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.terminate()
            worker.pipe.close()
        self._workers.clear()


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"it exited with {code}"


@contextmanager
def _single_threads() -> Iterator[None]:
    """Workers start with one thread each, whatever the environment says."""
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
def _interrupted() -> Iterator[list[int]]:
    """SIGINT and SIGTERM are noted; a second one does what it did before."""
    seen: list[int] = []

    def note(number: int, _: Any) -> None:
        seen.append(number)
        signal.signal(number, before[signal.Signals(number)])

    before = dict[signal.Signals, Any]()
    try:
        for which in (signal.SIGINT, signal.SIGTERM):
            before[which] = signal.signal(which, note)
    except ValueError:  # not in the main thread
        yield seen
        return
    try:
        yield seen
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)


@contextmanager
def _held_back(number: signal.Signals) -> Iterator[None]:
    """A signal waits until the block has ended; processes started in it never get it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # its start, as part of a process's, would let the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
