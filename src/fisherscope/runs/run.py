"""Write a run directory."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fisherscope.runs import checkpoint
from fisherscope.runs.atomic_io import disk_error, replace
from fisherscope.runs.config_values import json_value
from fisherscope.runs.errors import RunError
from fisherscope.runs.jsonl import encode_row, read_rows, slash_keys
from fisherscope.runs.lifecycle import RunLifecycle
from fisherscope.runs.lock import Lock
from fisherscope.runs.metadata import now
from fisherscope.runs.nonfinite_marks import mark_nonfinite
from fisherscope.runs.paths import CHECKPOINT, FINAL_STATUSES, LOCK, OUTCOMES, RUN, SPIKES

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def open_run(
    path: str | os.PathLike[str],
    config: Mapping[str, Any] | None = None,
    *,
    environment: Mapping[str, Any] | None = None,
    restart: bool = False,
) -> "Run":
    """Open a run directory for writing: a new one, or one to resume.

    Rows are never added to an existing run by accident: before the first one, say where to resume
    (`load_checkpoint()` or `rewind(step)`), or start over (`restart=True`).

    Args:
        path: The run's own directory, created if needed; its name is the run's id.
        config: What distinguishes this run from others, as JSON values; None takes that of the existing run.
        environment: Added to the versions and the machine, which are recorded anyway.
        restart: Drop everything that an earlier run left in the directory.

    Returns:
        The run, locked for other writers until it is closed.

    Raises:
        RunLockedError: Another process is writing the run.
        RunError: The directory holds a run of another configuration or format, or cannot be written to.
        DamagedRunError: The existing run cannot be read; it is left as it is.

    Example:
        ```python
        with fs.open_run("runs/mine/s16", {"batch_size": 16, "lr": 0.1, "seed": 0}, restart=True) as run:
            run.log_step({"step": 0, "fisher/cond": 12.0}, eigenvalues=[144.0, 1.0])
            run.log_epoch(val_error=0.25)
        ```
    """
    path = Path(path)
    try:
        _check_path(path)
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error("opening", path, error) from error
    lock = Lock(path / LOCK)
    try:
        return Run(path, config, environment, restart, lock)
    except BaseException:
        lock.release()
        raise


class Run(RunLifecycle):
    """Write one run; made by `open_run`. Close it, or use it as a context manager.

    As a context manager it ends as `finished`, after Ctrl-C or SystemExit as `interrupted`, or after another
    error as `failed`, unless `finish` was called before.

    Attributes:
        path: The run's directory.
        id: Its name.
        config: Its configuration, as JSON values.

    Example:
        ```python
        with fs.open_run("runs/mine/s64", {"batch_size": 64}, restart=True) as run:
            run.log_epoch(train_loss=0.7, val_error=0.3)
        assert run.status == "finished"
        ```
    """

    def __enter__(self) -> "Run":
        self._in_block = True
        return self

    # Rows

    def log_step(self, row: Mapping[str, Any], eigenvalues: "ArrayLike | None" = None) -> None:
        """Add a measured step, and the whole spectrum of its Gram.

        Args:
            row: Plain values; non-finite ones become null. If it has `step`, that must grow from row to row.
            eigenvalues: Eigenvalues of shape (B,), stored as float64; their position is added to the row.

        Raises:
            RunError: The run is closed, has that step already or is to be resumed first, or the disk is full.
            TypeError: A value is neither a number, text, None nor a list or mapping of these.
            ValueError: The eigenvalues are not one-dimensional.

        Example:
            ```python
            with fs.open_run("runs/mine/steps", {"seed": 0}, restart=True) as run:
                run.log_step({"step": 0, "fisher/cond": 12.0}, eigenvalues=[144.0, 1.0])
            ```
        """
        self._prepare_to_write()
        self._logs.add_step(json_value(row, "row"), eigenvalues)

    def log_epoch(self, row: Mapping[str, Any] | None = None, /, **values: Any) -> None:
        """Add an epoch: losses, metrics, totals of the monitor.

        Args:
            row: Plain values by key. Non-finite ones become null; of metrics (train/, val/, test/) the row
                says which they were, and readers put them back. A missing `epoch`, the number of completed
                epochs, is counted on from the last row.
            values: More of them: `train_loss=` becomes `train/loss`, likewise val_, test_, fisher_ and time_.

        Raises:
            RunError: The run is closed, has that epoch already or is to be resumed first, or the disk is
                full.
            TypeError: A value is neither a number, text, None nor a list or mapping of these.

        Example:
            ```python
            with fs.open_run("runs/mine/epochs", {"seed": 0}, restart=True) as run:
                run.log_epoch({"lr": 0.1}, train_loss=0.7, val_error=0.3)
            ```
        """
        self._prepare_to_write()
        self._logs.add_epoch(json_value(mark_nonfinite(slash_keys(row or {}) | slash_keys(values)), "row"))

    def log_outcomes(self, **arrays: "ArrayLike") -> None:
        """Replace the final per-example arrays, such as correctness and loss.

        Args:
            arrays: Numbers or booleans of any shape, by name; booleans take a bit each.

        Raises:
            RunError: The run is closed or is to be resumed first, or the disk is full.
            TypeError: An array holds neither numbers nor booleans.

        Example:
            ```python
            with fs.open_run("runs/mine/outcomes", {"seed": 0}, restart=True) as run:
                run.log_outcomes(correct=[True, False], loss=[0.1, 2.3])
            ```
        """
        import numpy as np

        from fisherscope.runs.outcomes import pack

        self._prepare_to_write()
        stored: Any = pack(arrays)
        replace(self.path / OUTCOMES, lambda file: np.savez_compressed(file, **stored))

    def log_text(self, line: str) -> None:
        """Add a line to log.txt, with the time.

        Args:
            line: The text.

        Raises:
            RunError: The run is closed, or the disk is full.

        Example:
            ```python
            with fs.open_run("runs/mine/text", {"seed": 0}, restart=True) as run:
                run.log_text("learning rate halved by hand")
            ```
        """
        self._check_open()
        self._text.append(f"{now()} {line}\n".encode())

    def log_spike(self, row: Mapping[str, Any]) -> None:
        """Add a step whose gradient left its band; spikes of that step or later ones are dropped.

        Args:
            row: Plain values with `step`, as `monitor.spikes` lists them.

        Raises:
            RunError: The run is closed or is to be resumed first, or the disk is full.
            TypeError: A value is neither a number, text, None nor a list or mapping of these.

        Cost: replaces the file of spikes.

        Example:
            ```python
            with fs.open_run("runs/mine/spiked", {"seed": 0}, restart=True) as run:
                run.log_spike({"step": 7, "norm": 120.0})
            assert fs.runs.spikes("runs/mine/spiked")[0]["norm"] == 120.0
            ```
        """
        self._prepare_to_write()
        new = json_value(row, "row")
        rows = [old for old in read_rows(self.path / SPIKES) if old.get("step", -1) < new["step"]]
        data = b"".join(encode_row(each) for each in [*rows, new])
        replace(self.path / SPIKES, lambda file: file.write(data))

    # Resume

    def identify(self, computes: Mapping[str, Any]) -> None:
        """Record what the run computes; of an existing run, check that it is the same.

        Args:
            computes: JSON values that follow from code, data and initial weights, such as digests and a first
                loss. `{"digest": …, "sums": [norm, projection]}` and single numbers are compared to five
                digits, all else exactly; None is not compared.

        Raises:
            ChangedRunError: They differ from those that the run began with; it is left as it is.
            RunError: The run is closed, or the disk is full.
            TypeError: A value is neither a number, text, None nor a list or mapping of these.

        Example:
            ```python
            with fs.open_run("runs/mine/identified", {"seed": 0}, restart=True) as run:
                run.identify({"file": "3f9c1d", "loss": 2.3026})
                run.identify({"file": "3f9c1d", "loss": 2.3026001})
            ```
        """
        self._check_open()
        self._head.identify(json_value(computes, "computes"), new=not self._logs)

    def save_checkpoint(self, state: Any) -> None:
        """Replace the checkpoint; it remembers which rows belong to it.

        Args:
            state: Tensors, numbers, text, None, and dicts, lists and tuples of these.

        Raises:
            RunError: The run is closed or is to be resumed first, or the disk is full.
            TypeError: The state holds another type.

        Cost: flushes everything to the disk: some milliseconds, plus the time to write the state.

        Example:
            ```python
            with fs.open_run("runs/mine/saved", {"seed": 0}, restart=True) as run:
                run.save_checkpoint({"step": 3, "weights": torch.ones(2)})
                assert run.load_checkpoint()["step"] == 3
            ```
        """
        self._prepare_to_write()
        self._logs.sync()
        checkpoint.write(
            self.path / CHECKPOINT, state, self.config, self._logs.sizes(), self._logs.checksums()
        )

    def load_checkpoint(self) -> Any | None:
        """Return the state to resume from, and drop the rows that were written after it.

        Returns:
            The state; None if there is no checkpoint, and then all rows are dropped. A run that has finished
            or diverged returns its last state and stays as it is.

        Raises:
            DamagedRunError: The checkpoint, or a row or spectrum that belongs to it, is damaged.
            RunError: The checkpoint is of another format or configuration, or the run is closed.

        Cost: reads the logs once, to compare their checksums with those of the checkpoint.

        Example:
            ```python
            with fs.open_run("runs/mine/resumable", {"seed": 0}) as run:
                state = run.load_checkpoint() or {"step": 0}
            ```
        """
        self._check_open()
        exists = (self.path / CHECKPOINT).exists()
        state, marks, checksums = (
            checkpoint.read(self.path / CHECKPOINT, self.config) if exists else (None, {}, {})
        )
        if self.status in FINAL_STATUSES:
            return state
        self._logs.verify(marks, checksums)
        self._truncate(marks)
        return state

    def rewind(self, step: int) -> None:
        """Resume after `step` completed steps, for loops with a checkpoint of their own.

        Drops measurements of steps >= `step`, epochs that ended after it, and a checkpoint that needs them.

        Args:
            step: Completed steps, at least 0.

        Raises:
            DamagedRunError: A row is damaged.
            RunError: The run is closed.
            ValueError: `step` is negative.

        Example:
            ```python
            with fs.open_run("runs/mine/rewound", {"seed": 0}, restart=True) as run:
                run.log_step({"step": 0})
                run.log_step({"step": 1})
                run.rewind(1)
                run.log_step({"step": 1})
            ```
        """
        self._check_open()
        if step < 0:
            raise ValueError(f"rewinding {self.id}: step={step} expected the completed steps, at least 0")
        sizes = self._logs.sizes_at(step)
        path = self.path / CHECKPOINT
        if path.exists() and any(
            size > sizes[name] for name, size in checkpoint.read(path, self.config)[1].items()
        ):
            path.unlink()
        self._truncate(sizes)


def _check_path(path: Path) -> None:
    """Raise an error if the path is a file, lies in a run, or is a directory that holds runs."""
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
