"""The run directory of a framework's training: where it starts, its epochs, and how it ends."""

import atexit
import math
import sys
import warnings
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal

from fisherscope.runs import Run, RunError, open_run

Ending = Literal["finished", "diverged", "interrupted", "failed"]


class TrainingRecord:
    """Record a training in a run: its configuration and epochs, and how it ended.

    A run that a `with` block holds is left open at the training's end, for what its block still logs; any
    other is closed. A training that resumes at step k keeps the rows up to there; one that begins again after
    an error (as `auto_find_batch_size` does) drops the rows of the attempt before.

    Args:
        run: The result of `open_run`, or anything with `log_step(row, eigenvalues)`; None for none.
        notified: Whether the framework tells its callbacks of exceptions. Where it does not, the end of a
            training that never ended is recorded when the process ends.
    """

    def __init__(self, run: Any, *, notified: bool) -> None:
        self.given, self.run, self._notified = run, run, notified
        self._status: Ending | Literal["running"] | None = None  # of the training that was recorded last

    def begin(self, step: int, description: Mapping[str, Any]) -> Any:
        """Prepare the run for a training that begins or resumes.

        Args:
            step: Optimizer steps that the training has completed.
            description: What is trained, for the configuration; None and what is not finite is left out.

        Returns:
            The run that takes the rows; None if there is none, or if it holds an earlier training.

        Raises:
            RunError: The run holds rows of an earlier process, and the training does not resume; or it is
                closed, or the disk is full.
        """
        if not isinstance(self.run, Run):
            return self.run
        if step == 0 and self._status in ("finished", "diverged"):
            warnings.warn(
                f"the run {self.run.id} holds the training that this callback recorded before, so this one "
                "is not recorded in it; build a callback with a run of its own for each training",
                RuntimeWarning,
                stacklevel=2,
            )
            return None
        self._open_at(step)
        found = {key: value for key, value in description.items() if _is_recordable(value)}
        earlier = self.run.description if step else {}  # a resumed training is that of its beginning
        self.run.describe({**found, **earlier})
        self._status = "running"
        if not self._notified:
            atexit.unregister(self._end_with_the_process)
            atexit.register(self._end_with_the_process)
        return self.run

    def begin_unmeasured(self, step: int, status: str) -> None:
        """Keep the run for a training without a monitor: one row that says why, its epochs, and its end.

        Args:
            step: Optimizer steps that the training has completed.
            status: Why it is not measured.
        """
        try:
            if not isinstance(self.run, Run):
                if self.run is not None:
                    self.run.log_step({"step": step, "status": status}, None)
            elif self.run.is_open and (step > 0 or not self.run.has_rows):
                self._status = "running"
                self.run.rewind(step)
                self.run.log_step({"step": step, "status": status})
        except Exception as error:  # noqa: BLE001  (the training goes on; its record is what is lost)
            warnings.warn(f"the training is not recorded: {error}", RuntimeWarning, stacklevel=2)

    def _open_at(self, step: int) -> None:
        """Open the run if the end of an earlier fit closed it, and drop the rows from `step` on."""
        if self._status is not None and not self.run.is_open:
            self.run = open_run(self.run.path, self.run.config)
        if step > 0:
            self.run.rewind(step)
        elif self.run.has_rows and self._status is None:
            raise RunError(
                f"recording a training in {self.run.path}: it begins at step 0, and the run has rows; "
                "resume the training from a checkpoint, or open the run with restart=True to drop them"
            )
        elif self.run.has_rows:
            self.run.rewind(0)
            self.run.log_text("the training began again at step 0; the rows before are dropped")

    def log_epoch(self, epoch: int, row: Mapping[str, Any]) -> None:
        """Add the row of an epoch, unless the run has it already.

        Args:
            epoch: Epochs completed, as the framework counts them.
            row: Metrics and totals.

        Raises:
            RunError: The run is closed, or the disk is full.
        """
        if isinstance(self.run, Run):
            if self._status == "running" and epoch > self.run.last_epoch:
                self.run.log_epoch({**row, "epoch": epoch})
        elif hasattr(self.run, "log_epoch"):
            self.run.log_epoch({**row, "epoch": epoch})

    def end(self, status: Ending = "finished", reason: str = "") -> None:
        """Record how the training ended; a second call for the same training does nothing.

        Args:
            status: How.
            reason: Why, in words.
        """
        if self._status != "running" or not isinstance(self.run, Run):
            return
        self._status = status
        atexit.unregister(self._end_with_the_process)
        try:
            if not self.run.is_open:
                return  # the loop around the framework ended it
            if not self.run.in_block:
                self.run.finish(status, reason)
            elif status != "finished":  # the block says that otherwise
                self.run.mark(status, reason)
        except RunError as error:
            warnings.warn(f"the end of the training is not recorded: {error}", RuntimeWarning, stacklevel=2)

    def end_by(self, error: BaseException) -> None:
        """Record that an exception ended the training, or kept it from beginning: interrupted or failed.

        Args:
            error: The exception.
        """
        if self._status is None and isinstance(self.run, Run) and self.run.is_open and not self.run.has_rows:
            self._status = "running"
        self.end(*ending_by(error))

    def conclude(self, step: int, status: Ending, reason: str) -> None:
        """Finish the run of a training that had ended when its process died: there is nothing left to do.

        Args:
            step: Optimizer steps that the training has completed.
            status: How it ended.
            reason: Why, in words.
        """
        if self._status is not None or not isinstance(self.run, Run) or not self.run.is_open:
            return
        if self.run.status in ("finished", "diverged"):
            if not self.run.in_block:
                self.run.close()
            return
        self.run.rewind(step)
        self._status = "running"
        self.end(status, reason)

    def _end_with_the_process(self) -> None:
        error = getattr(sys, "last_value", None)
        if isinstance(error, BaseException) and _passes_through(error.__traceback__, "transformers"):
            self.end_by(error)
        else:
            self.end("interrupted", "the process ended before the training did")


def ending_by(error: BaseException) -> tuple[Ending, str]:
    """Say how an exception ends a training.

    Args:
        error: The exception that left the framework's loop.

    Returns:
        The status and the reason of the run.
    """
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", "by Ctrl-C"
    if isinstance(error, SystemExit):  # Lightning raises a kind of it after SIGTERM
        return "interrupted", "by SIGTERM" if "SIGTERM" in type(error).__name__ else "by SystemExit"
    return "failed", f"{type(error).__name__}: {error}"


def _is_recordable(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _passes_through(traceback: TracebackType | None, package: str) -> bool:
    """Return whether a traceback has a frame of a package."""
    while traceback is not None:
        if str(traceback.tb_frame.f_globals.get("__name__", "")).partition(".")[0] == package:
            return True
        traceback = traceback.tb_next
    return False
