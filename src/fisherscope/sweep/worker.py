"""Train one run after another in a process that imports torch once."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection
from typing import Any

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def work(pipe: Connection, root: str, until: int | None, data_dir: str | None) -> None:
    """Train the configurations received from `pipe` until None; send epochs and ends.

    Messages: ("epoch", id, row) and ("end", id, status, reason).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the sweep's process decides
    from fisherscope.gram import keep_freed_blocks
    from fisherscope.training import Configuration, train

    keep_freed_blocks()
    while True:
        try:
            values = pipe.recv()
        except EOFError:
            return
        if values is None:
            return
        config = Configuration.of(values)
        try:
            result = train(config, root, until=until, data_dir=data_dir, progress=_reporter(pipe, config.id))
            end = result.status, result.reason
        except ValueError as error:
            end = "refused", str(error)
        except Exception as error:  # noqa: BLE001  (a run that fails must not end the others)
            end = "failed", f"{type(error).__name__}: {error}"
        try:
            pipe.send(("end", config.id, *end))
        except BrokenPipeError:  # the sweep's process has ended; the run stays interrupted
            return


def _reporter(pipe: Connection, run_id: str) -> Any:
    """Make a callback that sends epochs, and stops the run once the sweep has ended."""
    parent = os.getppid()

    def progress(_: Any, row: dict[str, Any] | None) -> None:
        if row is not None:
            pipe.send(("epoch", run_id, row))
        elif os.getppid() != parent:
            raise BrokenPipeError("the sweep's process has ended")

    return progress
