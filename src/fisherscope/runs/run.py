"""The writer of a run directory."""

import os
import platform
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from fisherscope.runs import checkpoint
from fisherscope.runs.errors import DamagedRunError, RunError
from fisherscope.runs.files import Log, failure, replace, replace_json, sweep_up
from fisherscope.runs.layout import (
    CHECKPOINT,
    ENDED,
    EPOCHS,
    FORMAT,
    GONE,
    LOCK,
    OUTCOMES,
    RUN,
    SPECTRA,
    STATUSES,
    STEPS,
    TEXT,
    read_run,
)
from fisherscope.runs.lock import Lock
from fisherscope.runs.rows import encoded, kept, number_of_last, renamed
from fisherscope.runs.values import differences, plain, plain_config

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
        self._logs = {name: Log(path / name) for name in (STEPS, SPECTRA, EPOCHS)}
        self._text = Log(path / TEXT)
        known = read_run(path) if (path / RUN).exists() and not restart else None
        if known is None and not restart and any(log.size for log in self._logs.values()):
            raise DamagedRunError(
                f"opening {path}: it has measurements but no {RUN}; restore that from a copy, or begin anew "
                "with restart=True"
            )
        self.config: dict[str, Any] = plain_config(
            known["config"] if config is None and known else config or {}
        )
        if known and known["status"] == "running":
            known |= GONE  # for the lock is ours
        now = _now()
        self._head: dict[str, Any] = known or {
            "format": FORMAT,
            "id": self.id,
            "config": self.config,
            "environment": {**_environment(), **plain_config(environment or {})},
            "status": "running",
            "reason": "",
            "created": now,
            "updated": now,
        }
        if known and (differing := differences(self.config, known["config"])):
            raise RunError(
                f"opening {path}: it holds a run of another configuration: {', '.join(differing)}; "
                "give another directory, or restart=True to drop that run"
            )
        if known is None:
            self._drop()
            self._save()
        self._resumed = known is None or not any(log.size for log in self._logs.values())
        self._last_step = self._last_epoch = -1

    # What is known

    @property
    def status(self) -> str:
        """running, finished, diverged, interrupted or failed; of an existing run what it was left as."""
        return str(self._head["status"])

    @property
    def reason(self) -> str:
        """Why it ended so, in words."""
        return str(self._head["reason"])

    @property
    def environment(self) -> dict[str, Any]:
        """Versions and machine at the run's beginning."""
        return dict(self._head["environment"])

    # Rows

    def log_step(self, row: Mapping[str, Any], eigenvalues: "ArrayLike | None" = None) -> None:
        """Add a measured step, and the whole spectrum of its Gram.

        Args:
            row: Plain values; non-finite ones become null. `step`, where it has one, must grow.
            eigenvalues: Stored as float64; their place goes into the row.
        """
        self._ready()
        values = plain(row, "row")
        step = values.get("step", self._last_step + 1)
        if step <= self._last_step:
            raise RunError(
                f"logging step {step} of {self.id}: step {self._last_step} is already there; "
                f"call rewind(step={step}) to drop it and what follows"
            )
        if eigenvalues is not None:
            values |= self._spectrum(eigenvalues)
        self._logs[STEPS].append(encoded(values))
        self._last_step = step

    def log_epoch(self, row: Mapping[str, Any] | None = None, /, **values: Any) -> None:
        """Add an epoch: losses, metrics, totals of the monitor.

        `train_loss=` becomes `train/loss`, and so for val_, test_, fisher_ and time_. `epoch`, the number of
        epochs completed, is counted where it is not given.
        """
        self._ready()
        named = {"epoch": max(self._last_epoch, 0) + 1} | renamed(row or {}) | renamed(values)
        named = plain(named, "row")
        if named["epoch"] <= self._last_epoch:
            raise RunError(
                f"logging epoch {named['epoch']} of {self.id}: epoch {self._last_epoch} is already there; "
                "call rewind(step=…) first"
            )
        self._logs[EPOCHS].append(encoded(named))
        self._last_epoch = named["epoch"]

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
        self._text.append(f"{_now()} {line}\n".encode())

    # Going on

    def save_checkpoint(self, state: Any) -> None:
        """Replace the checkpoint by `state`; it remembers which rows belong to it.

        Args:
            state: Tensors, numbers, text, None, and dicts, lists and tuples of these.

        Cost: writes everything through to the disk, some milliseconds besides the size.
        """
        self._ready()
        for log in self._logs.values():
            log.sync()
        marks = {name: log.size for name, log in self._logs.items()}
        checkpoint.write(self.path / CHECKPOINT, state, self.config, marks)

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
        self._truncate({name: marks.get(name, 0) for name in self._logs})
        return state

    def rewind(self, step: int) -> None:
        """Go on as of `step` completed steps, for loops with a checkpoint of their own.

        Drops measurements of steps >= `step`, epochs that ended after it, and a checkpoint that needs them.
        """
        self._own()
        if step < 0:
            raise ValueError(f"rewinding {self.id}: step={step} must be at least 0, the completed steps")
        steps, spectra = kept(self._logs[STEPS], lambda row: row["step"] < step)
        epochs, _ = kept(self._logs[EPOCHS], lambda row: row["step"] <= step)
        sizes = {STEPS: steps, SPECTRA: spectra, EPOCHS: epochs}
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
        for log in (*self._logs.values(), self._text):
            log.sync()
        self._mark(status, reason)
        self.close()

    def close(self) -> None:
        """Let others write the run; its status stays."""
        if self._open and self._owner == os.getpid():
            self._open = False
            for log in (*self._logs.values(), self._text):
                log.close()
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
            self._mark("running", "")

    def _spectrum(self, eigenvalues: "ArrayLike") -> dict[str, int]:
        import numpy as np

        values = np.ascontiguousarray(eigenvalues, dtype="<f8")
        if values.ndim != 1:
            raise ValueError(f"logging a spectrum: received shape {values.shape}; expected one dimension")
        offset = self._logs[SPECTRA].size // values.itemsize
        self._logs[SPECTRA].append(values.tobytes())
        return {"spectrum_offset": offset, "spectrum_length": len(values)}

    def _truncate(self, sizes: Mapping[str, int]) -> None:
        """Cut the logs, rows before what they point at, and be ready to write."""
        for name in (STEPS, EPOCHS, SPECTRA):
            self._logs[name].truncate(sizes[name])
        self._last_step = number_of_last(self._logs[STEPS].path, "step")
        self._last_epoch = number_of_last(self._logs[EPOCHS].path, "epoch")
        self._resumed = True
        if self.status != "running":
            self._mark("running", "")

    def _drop(self) -> None:
        for name in (CHECKPOINT, OUTCOMES):  # first, for a checkpoint's marks need the rows
            (self.path / name).unlink(missing_ok=True)
        for log in self._logs.values():
            log.truncate(0)

    def _mark(self, status: str, reason: str) -> None:
        self._head |= {"status": status, "reason": reason}
        self._save()

    def _save(self) -> None:
        self._head["updated"] = _now()
        replace_json(self.path / RUN, self._head)


def _check_place(path: Path) -> None:
    """Refuse a directory that holds runs, or a file, in a run's place."""
    if path.exists() and not path.is_dir():
        raise RunError(f"opening {path}: it is a file; expected a directory, or a name for a new one")
    inner = next(path.glob(f"*/{RUN}"), None)
    if inner is not None and not (path / RUN).exists():
        raise RunError(
            f"opening {path}: it holds runs, such as {inner.parent.name}; give a directory of its own"
        )


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _environment() -> dict[str, Any]:
    def version(name: str) -> str | None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    return {
        "fisherscope": version("fisherscope"),
        "python": platform.python_version(),
        "torch": version("torch"),
        "numpy": version("numpy"),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "command": " ".join(Path(part).name if k == 0 else part for k, part in enumerate(sys.argv)),
    }
