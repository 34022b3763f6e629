"""The lifecycle of a run directory that is being written: open, guard, finish, close."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from fisherscope.runs.atomic_io import Log, remove_partial_files
from fisherscope.runs.errors import DamagedRunError, RunError
from fisherscope.runs.lock import Lock
from fisherscope.runs.logs import Logs
from fisherscope.runs.metadata import RunMetadata, read_run
from fisherscope.runs.paths import CHECKPOINT, OUTCOMES, RUN, SPIKES, STATUSES, TEXT

Status = Literal["running", "finished", "diverged", "interrupted", "failed"]


class RunLifecycle:
    """Hold a run directory open for writing, and record how the run ends."""

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
        self._in_block = False
        remove_partial_files(path)
        self._logs = Logs(path)
        self._text = Log(path / TEXT)
        earlier = read_run(path) if (path / RUN).exists() and not restart else None
        if earlier is None and not restart and self._logs:
            raise DamagedRunError(
                f"opening {path}: it has measurements but no {RUN}; restore that file from a copy, or delete "
                "the directory to start over (restart=True drops the run)"
            )
        self._head = RunMetadata(path, config, environment, earlier)
        self.config = self._head.config
        if earlier is None:
            self._delete_contents()
            self._head.save()
        self._accepts_rows = earlier is None or not self._logs

    # Metadata

    @property
    def status(self) -> str:
        """running, finished, diverged, interrupted or failed; for an existing run its last status."""
        return self._head.status

    @property
    def reason(self) -> str:
        """Why the run has this status, in words; empty if there is nothing to say."""
        return self._head.reason

    @property
    def environment(self) -> dict[str, Any]:
        """Versions and machine at the start of the run."""
        return self._head.environment

    @property
    def is_open(self) -> bool:
        """Whether this process may still write to the run."""
        return self._open and self._owner == os.getpid()

    @property
    def in_block(self) -> bool:
        """Whether a `with` block is open that ends the run."""
        return self._in_block

    @property
    def has_rows(self) -> bool:
        """Whether the run holds measured steps or epochs."""
        return bool(self._logs)

    @property
    def last_epoch(self) -> int:
        """The number of the last epoch that was logged; 0 for none."""
        return max(self._logs.last_epoch, 0)

    @property
    def description(self) -> dict[str, Any]:
        """What `describe` recorded so far."""
        return self._head.description

    def describe(self, values: Mapping[str, Any]) -> None:
        """Record what is trained, beside the configuration that the run was opened with.

        Readers see both as one configuration; where both have a key, the one given to `open_run` counts. A
        run is resumed with the arguments it was opened with, whatever was described.

        Args:
            values: JSON values by key, such as `batch_size`, `lr`, `epochs`; added to earlier ones.

        Raises:
            RunError: The run is closed, or the disk is full.
            TypeError: A value is neither a number, text, None nor a list or mapping of these.
            ValueError: A number is not finite.

        Example:
            ```python
            with fs.open_run("runs/mine/described", {"seed": 0}, restart=True) as run:
                run.describe({"optimizer": "SGD"})
            assert fs.runs.run_config("runs/mine/described") == {"optimizer": "SGD", "seed": 0}
            ```
        """
        self._check_open()
        self._head.describe(values)

    # The end

    def finish(self, status: Status = "finished", reason: str = "") -> None:
        """Record how the run ended, and close it.

        Args:
            status: finished, diverged, interrupted or failed.
            reason: Why, in words.

        Raises:
            RunError: The run is closed, or the disk is full.
            ValueError: `status` is another word.

        Example:
            ```python
            run = fs.open_run("runs/mine/diverged", {"seed": 0}, restart=True)
            run.finish("diverged", "the loss became nan at step 3")
            ```
        """
        self._check_status(status)
        self._check_open()
        self._logs.sync()
        self._text.sync()
        self._head.mark(status, reason)
        self.close()

    def mark(self, status: Status, reason: str = "") -> None:
        """Record how a training ended, and leave the run open; the next row sets it running again.

        Args:
            status: finished, diverged, interrupted or failed.
            reason: Why, in words.

        Raises:
            RunError: The run is closed, or the disk is full.
            ValueError: `status` is another word.

        Example:
            ```python
            with fs.open_run("runs/mine/marked", {"seed": 0}, restart=True) as run:
                run.log_epoch(val_error=0.5)
                run.mark("failed", "ZeroDivisionError: in the second epoch")
            assert fs.runs.status("runs/mine/marked") == "failed"
            ```
        """
        self._check_status(status)
        self._check_open()
        self._logs.sync()
        self._head.mark(status, reason)

    def close(self) -> None:
        """Release the run, so that others can write it; its status stays.

        Example:
            ```python
            fs.open_run("runs/mine/closed", {"seed": 0}).close()
            ```
        """
        if self._open and self._owner == os.getpid():
            self._open = False
            self._logs.close()
            self._text.close()
            self._lock.release()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._in_block = False
        if not self._open:
            return
        try:
            if not self._accepts_rows or self.status != "running":
                return  # nothing was written
            if isinstance(error, KeyboardInterrupt | SystemExit):
                self.finish("interrupted", f"by {type(error).__name__}")
            elif error is not None:
                self.finish("failed", f"{type(error).__name__}: {error}")
            else:
                self.finish()
        except RunError as failure:
            if error is None:  # else the loop's own error matters; what was trained is yet to be saved
                warnings.warn(f"{failure}; the run counts as crashed", RuntimeWarning, stacklevel=2)
        finally:
            self.close()

    def __repr__(self) -> str:
        return f"<Run {self.id}: {self.status}{'' if self._open else ', closed'}>"

    # Checks

    def _check_status(self, status: str) -> None:
        if status not in STATUSES or status == "running":
            raise ValueError(
                f"finishing {self.id}: status={status!r}; expected one of {', '.join(STATUSES[1:])}"
            )

    def _check_open(self) -> None:
        if not self._open:
            raise RunError(f"writing {self.id}: it is closed; open it again by open_run({str(self.path)!r})")
        if self._owner != os.getpid():
            raise RunError(
                f"writing {self.id}: it was opened in process {self._owner}, this is {os.getpid()}; "
                "log from the process that opened it"
            )

    def _prepare_to_write(self) -> None:
        self._check_open()
        if not self._accepts_rows:
            raise RunError(
                f"writing {self.path}: it holds a run already ({self.status}); call load_checkpoint() or "
                "rewind(step) to resume it, or open it with restart=True to drop it"
            )
        if self.status != "running":
            self._head.mark("running")

    def _truncate(self, sizes: Mapping[str, int]) -> None:
        """Truncate the logs, and accept rows from then on."""
        self._logs.truncate(sizes)
        self._accepts_rows = True
        if self.status != "running":
            self._head.mark("running")

    def _delete_contents(self) -> None:
        for name in (CHECKPOINT, OUTCOMES, SPIKES):  # first, since a checkpoint's marks need the rows
            (self.path / name).unlink(missing_ok=True)
        self._logs.truncate({})
