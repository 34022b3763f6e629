"""Train one run after another in a process that imports torch once."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection
from typing import Any

ELSEWHERE = "elsewhere"
"""Status of a run that another process trains: no failure, and nothing to retry."""
ENDED = "another process trained it to its end"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def work(pipe: Connection, root: str, until: int | None, data_dir: str | None) -> None:
    """Train the configurations received from `pipe` until None; send epochs and ends.

    Messages: ("epoch", id, row), ("changed", id, directory of the earlier run), ("end", id, status, reason).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the sweep's process decides
    unblock_signals()
    from fisherscope.gram import keep_freed_blocks
    from fisherscope.training import Configuration

    keep_freed_blocks()
    while True:
        try:
            values = pipe.recv()
        except EOFError:
            return
        if values is None:
            return
        config = Configuration.of(values)
        end = _train(config, root, until, data_dir, pipe)
        try:
            pipe.send(("end", config.id, *end))
        except BrokenPipeError:  # the sweep's process has ended; the run stays interrupted
            return


def _train(
    config: Any, root: str, until: int | None, data_dir: str | None, pipe: Connection, *, again: bool = False
) -> tuple[str, str]:
    """Train one run; a run of earlier data or an earlier model is set aside and trained anew.

    Returns:
        Status and reason of its end.
    """
    from fisherscope.runs import ChangedRunError, RunLockedError, has_ended, set_aside
    from fisherscope.training import train

    try:
        if not again and has_ended(config.path_in(root)):  # since the sweep began
            return ELSEWHERE, ENDED
        result = train(config, root, until=until, data_dir=data_dir, progress=_reporter(pipe, config.id))
    except ChangedRunError as error:
        if again:
            return "refused", str(error)
        moved = set_aside(config.path_in(root))
        pipe.send(("changed", config.id, str(moved.parent)))
        return _train(config, root, until, data_dir, pipe, again=True)
    except RunLockedError as error:
        return ELSEWHERE, str(error)
    except ValueError as error:
        return "refused", str(error)
    except Exception as error:  # noqa: BLE001  (a run that fails must not end the others)
        return "failed", f"{type(error).__name__}: {error}"
    return result.status, result.reason


def unblock_signals() -> None:
    """Let SIGTERM in, which a parent blocks while a process starts; one that came meanwhile ends it now."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _reporter(pipe: Connection, run_id: str) -> Any:
    """Make a callback that sends epochs, and stops the run once the sweep has ended."""
    parent = os.getppid()

    def progress(_: Any, row: dict[str, Any] | None) -> None:
        if row is not None:
            pipe.send(("epoch", run_id, row))
        elif os.getppid() != parent:
            raise BrokenPipeError("the sweep's process has ended")

    return progress
