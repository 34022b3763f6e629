"""The writer of a run directory."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from fisherscope.runs import checkpoint
from fisherscope.runs.atomic_io import Log, failure, replace, sweep_up
from fisherscope.runs.config_values import plain
from fisherscope.runs.errors import DamagedRunError, RunError
from fisherscope.runs.jsonl import renamed
from fisherscope.runs.lock import Lock
from fisherscope.runs.logs import Logs
from fisherscope.runs.metadata import RunMetadata, now, read_run
from fisherscope.runs.paths import (
    CHECKPOINT,
    ENDED,
    LOCK,
    OUTCOMES,
    RUN,
    STATUSES,
    TEXT,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Status = Literal["running", "finished", "diverged", "interrupted", "failed"]


def open_run(
    path: str | os.PathLike[str],
    config: Mapping[str, Any] | None = None,
    *,
    environment: Mapping[str, Any] | None = None,
    restart: bool = False,
) -> "Run":
    """A run directory to write: a new one, or one that is to go on.

    An existing run is never added to by accident: before the first row, say from where it goes on
    (`load_checkpoint()` or `rewind(step)`), or that it begins anew (`restart=True`).

    Args:
        path: The run's own directory; its name is the run's id.
        config: What makes this run another one than its neighbours, as JSON values; None takes that of the
            run that is there.
        environment: Added to the versions and the machine that are recorded anyway.
        restart: Drop everything that an earlier run has left there.

    Raises:
        RunLockedError: Another process is writing it.
        RunError: The directory is of another configuration or version, or may not be written to.
        DamagedRunError: What is there cannot be read; it is left as it is.
    """
    path = Path(path)
    try:
        _check_place(path)
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise failure("opening", path, error) from error
    lock = Lock(path / LOCK)
    try:
        return Run(path, config, environment, restart, lock)
    except BaseException:
        lock.release()
        raise


class Run:
    """One run being written; made by `open_run`. Close it, or use it as a context manager.

    As a context manager it ends as `finished`, as `interrupted` by Ctrl-C or SystemExit, or as `failed` by
    another error, unless `finish` was called before.
    """

    def __init__(
        self,
        path: Path,
        config: Mapping[str, Any] | None,
        environment: Mapping[str, Any] | None,
        restart: bool,
        lock: Lock,
    ) -> None:
        self.path, self.id = path, path.resolve().name
        self._lock, self._owner, self._open = lock, os.getpid(), True
        sweep_up(path)
        self._logs = Logs(path)
        self._text = Log(path / TEXT)
        known = read_run(path) if (path / RUN).exists() and not restart else None
        if known is None and not restart and self._logs:
            raise DamagedRunError(
                f"opening {path}: it has measurements but no {RUN}; restore that from a copy, or delete the "
                "directory to begin anew (restart=True drops the run)"
            )
        self._head = RunMetadata(path, config, environment, known)
        self.config = self._head.config
        if known is None:
            self._drop()
            self._head.save()
        self._resumed = known is None or not self._logs

    # What is known

    @property
    def status(self) -> str:
        """running, finished, diverged, interrupted or failed; of an existing run what it was left as."""
        return self._head.status

    @property
    def reason(self) -> str:
        """Why it ended so, in words."""
        return self._head.reason

    @property
    def environment(self) -> dict[str, Any]:
        """Versions and machine at the run's beginning."""
        return self._head.environment

    # Rows

    def log_step(self, row: Mapping[str, Any], eigenvalues: "ArrayLike | None" = None) -> None:
        """Add a measured step, and the whole spectrum of its Gram.

        Args:
            row: Plain values; non-finite ones become null. `step`, where it has one, must grow.
            eigenvalues: Stored as float64; their place goes into the row.
        """
        self._ready()
        self._logs.add_step(plain(row, "row"), eigenvalues)

    def log_epoch(self, row: Mapping[str, Any] | None = None, /, **values: Any) -> None:
        """Add an epoch: losses, metrics, totals of the monitor.

        `train_loss=` becomes `train/loss`, and so for val_, test_, fisher_ and time_. `epoch`, the number of
        epochs completed, is counted where it is not given.
        """
        self._ready()
        self._logs.add_epoch(plain(renamed(row or {}) | renamed(values), "row"))

    def log_outcomes(self, **arrays: "ArrayLike") -> None:
        """Replace the final per-example arrays (correctness, loss, …); booleans take a bit each."""
        import numpy as np

        from fisherscope.runs.outcomes import packed

        self._ready()
        held: Any = packed(arrays)
        replace(self.path / OUTCOMES, lambda file: np.savez_compressed(file, **held))

    def log_text(self, line: str) -> None:
        """Add a line to log.txt, with the time."""
        self._own()
        self._text.append(f"{now()} {line}\n".encode())

    # Going on

    def save_checkpoint(self, state: Any) -> None:
        """Replace the checkpoint by `state`; it remembers which rows belong to it.

        Args:
            state: Tensors, numbers, text, None, and dicts, lists and tuples of these.

        Cost: writes everything through to the disk, some milliseconds besides the size.
        """
        self._ready()
        self._logs.sync()
        checkpoint.write(self.path / CHECKPOINT, state, self.config, self._logs.sizes())

    def load_checkpoint(self) -> Any | None:
        """The state to go on from, rows after it dropped; None if there is none, and then all rows are.

        A run that has finished or diverged gives its last state and stays as it is.

        Raises:
            DamagedRunError: The checkpoint, or a row that belongs to it, is damaged.
            RunError: The checkpoint is of another version or configuration.
        """
        self._own()
        exists = (self.path / CHECKPOINT).exists()
        state, marks = checkpoint.read(self.path / CHECKPOINT, self.config) if exists else (None, {})
        if self.status in ENDED:
            return state
        self._truncate(marks)
        return state

    def rewind(self, step: int) -> None:
        """Go on as of `step` completed steps, for loops with a checkpoint of their own.

        Drops measurements of steps >= `step`, epochs that ended after it, and a checkpoint that needs them.
        """
        self._own()
        if step < 0:
            raise ValueError(f"rewinding {self.id}: step={step} must be at least 0, the completed steps")
        sizes = self._logs.sizes_at(step)
        path = self.path / CHECKPOINT
        if path.exists() and any(
            size > sizes[name] for name, size in checkpoint.read(path, self.config)[1].items()
        ):
            path.unlink()
        self._truncate(sizes)

    # The end

    def finish(self, status: Status = "finished", reason: str = "") -> None:
        """Say how the run ended, and close it."""
        if status not in STATUSES or status == "running":
            raise ValueError(
                f"finishing {self.id}: status={status!r}; expected one of {', '.join(STATUSES[1:])}"
            )
        self._own()
        self._logs.sync()
        self._text.sync()
        self._head.mark(status, reason)
        self.close()

    def close(self) -> None:
        """Let others write the run; its status stays."""
        if self._open and self._owner == os.getpid():
            self._open = False
            self._logs.close()
            self._text.close()
            self._lock.release()

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._open:
            return
        try:
            if not self._resumed or self.status != "running":
                return  # nothing was begun
            if isinstance(error, KeyboardInterrupt | SystemExit):
                self.finish("interrupted", f"by {type(error).__name__}")
            elif error is not None:
                self.finish("failed", f"{type(error).__name__}: {error}")
            else:
                self.finish()
        except RunError:
            if error is None:
                raise  # else the loop's own error is what matters
        finally:
            self.close()

    def __repr__(self) -> str:
        return f"<Run {self.id}: {self.status}{'' if self._open else ', closed'}>"

    # Within

    def _own(self) -> None:
        if not self._open:
            raise RunError(f"writing {self.id}: it is closed; open it again by open_run({str(self.path)!r})")
        if self._owner != os.getpid():
            raise RunError(
                f"writing {self.id}: it was opened in process {self._owner}, this is {os.getpid()}; "
                "log from the process that opened it"
            )

    def _ready(self) -> None:
        self._own()
        if not self._resumed:
            raise RunError(
                f"writing {self.path}: it holds a run already ({self.status}); call load_checkpoint() or "
                "rewind(step) to go on with it, or open it with restart=True to drop it"
            )
        if self.status != "running":
            self._head.mark("running")

    def _truncate(self, sizes: Mapping[str, int]) -> None:
        """Cut the logs, and be ready to write."""
        self._logs.truncate(sizes)
        self._resumed = True
        if self.status != "running":
            self._head.mark("running")

    def _drop(self) -> None:
        for name in (CHECKPOINT, OUTCOMES):  # first, for a checkpoint's marks need the rows
            (self.path / name).unlink(missing_ok=True)
        self._logs.truncate({})


def _check_place(path: Path) -> None:
    """Refuse a directory that holds runs, or a file, in a run's place."""
    if path.exists() and not path.is_dir():
        raise RunError(f"opening {path}: it is a file; expected a directory, or a name for a new one")
    if (path.parent / RUN).exists():
        raise RunError(
            f"opening {path}: {path.parent} is a run itself; give the directory above it, "
            f"{path.parent.parent}"
        )
    inner = next(path.glob(f"*/{RUN}"), None)
    if inner is not None and not (path / RUN).exists():
        raise RunError(
            f"opening {path}: it holds runs, such as {inner.parent.name}; give a directory of its own"
        )
