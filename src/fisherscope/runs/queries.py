"""Queries about a run directory without polars: status, configuration, epoch rows.

Only this room knows which files a run consists of; others ask here.
"""

import itertools
import os
from pathlib import Path
from typing import Any

from fisherscope.runs.atomic_io import disk_error
from fisherscope.runs.jsonl import read_rows
from fisherscope.runs.lock import holder, locked_error
from fisherscope.runs.metadata import read_run, whole_config
from fisherscope.runs.paths import EARLIER, EPOCHS, FINAL_STATUSES, LOCK, RUN, SPIKES, WRITER_GONE


def is_run(path: str | os.PathLike[str]) -> bool:
    """Return whether a directory holds a run.

    Args:
        path: A directory, which need not exist.

    Returns:
        True if it has a run.json; False also if it may not be looked into.

    Example:
        ```python
        fs.open_run("runs/mine/first", {"seed": 0}).close()
        assert fs.runs.is_run("runs/mine/first") and not fs.runs.is_run("runs/mine")
        ```
    """
    return os.path.exists(Path(path) / RUN)


def status(path: str | os.PathLike[str]) -> str | None:
    """Return how a run stands, as `load_runs` would say.

    Args:
        path: The run's directory.

    Returns:
        "running", "finished", "diverged", "interrupted" or "failed"; "interrupted" too if it says that it is
        running but its process is gone; None if there is no run.

    Raises:
        DamagedRunError: Its run.json is damaged.
        RunError: Its run.json cannot be read, or is of another format.

    Example:
        ```python
        with fs.open_run("runs/mine/second", {"seed": 0}):
            assert fs.runs.status("runs/mine/second") == "running"
        assert fs.runs.status("runs/mine/second") == "finished"
        assert fs.runs.status("runs/mine/absent") is None
        ```
    """
    head = current_head(Path(path))
    return None if head is None else str(head["status"])


def has_ended(path: str | os.PathLike[str]) -> bool:
    """Return whether nothing is left to train: the run has finished or diverged.

    Args:
        path: The run's directory.

    Returns:
        False if there is no run.

    Raises:
        DamagedRunError: Its run.json is damaged.
        RunError: Its run.json cannot be read, or is of another format.

    Example:
        ```python
        with fs.open_run("runs/mine/third", {"seed": 0}) as run:
            run.finish("interrupted", "by hand")
        assert not fs.runs.has_ended("runs/mine/third")
        ```
    """
    try:
        return read_run(Path(path))["status"] in FINAL_STATUSES
    except FileNotFoundError:
        return False


def run_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the configuration of a run.

    Args:
        path: The run's directory.

    Returns:
        The configuration as it was given to `open_run`, and what `Run.describe` added, as JSON values.

    Raises:
        FileNotFoundError: There is no run.
        DamagedRunError: Its run.json is damaged.
        RunError: Its run.json cannot be read, or is of another format.

    Example:
        ```python
        fs.open_run("runs/mine/fourth", {"seed": 0, "lr": 0.1}).close()
        assert fs.runs.run_config("runs/mine/fourth") == {"seed": 0, "lr": 0.1}
        ```
    """
    return whole_config(read_run(Path(path)))


def run_head(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return run.json: configuration, environment, status, and what the run computes.

    Args:
        path: The run's directory.

    Returns:
        Its JSON object, as docs/runs.md describes it.

    Raises:
        FileNotFoundError: There is no run.
        DamagedRunError: Its run.json is damaged.
        RunError: Its run.json cannot be read, or is of another format.

    Example:
        ```python
        fs.open_run("runs/mine/headed", {"seed": 0}).close()
        assert fs.runs.run_head("runs/mine/headed")["config"] == {"seed": 0}
        ```
    """
    return read_run(Path(path))


def set_aside(path: str | os.PathLike[str]) -> Path:
    """Move a run into the hidden directory `.earlier` beside it, unread and not lost.

    Args:
        path: The run's directory.

    Returns:
        Where it is now.

    Raises:
        RunLockedError: A process is writing it.
        RunError: It cannot be moved.

    Example:
        ```python
        fs.open_run("runs/mine/earlier", {"seed": 0}).close()
        assert fs.runs.is_run(fs.runs.set_aside("runs/mine/earlier"))
        assert not fs.runs.is_run("runs/mine/earlier")
        ```
    """
    path = Path(path)
    if (record := holder(path / LOCK)) is not None:
        raise locked_error(path / LOCK, record)
    for number in itertools.count(1):
        target = path.parent / EARLIER / f"{path.name}~{number}"
        try:
            target.parent.mkdir(exist_ok=True)
            if not target.exists():
                path.rename(target)
                return target
        except OSError as error:
            raise disk_error("moving", path, error) from error
    raise AssertionError("numbers do not end")


def epoch_rows(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return the rows of a run's epochs, also while the run is being written.

    Args:
        path: The run's directory.

    Returns:
        A row for each epoch, in order, with the keys of docs/runs.md; none if there is no run or no epoch
        yet. A row that is being written is left out.

    Raises:
        DamagedRunError: A row is damaged.
        RunError: The file cannot be read.

    Example:
        ```python
        with fs.open_run("runs/mine/fifth", {"seed": 0}, restart=True) as run:
            run.log_epoch(val_error=0.25)
        assert fs.runs.epoch_rows("runs/mine/fifth") == [{"epoch": 1, "val/error": 0.25}]
        ```
    """
    return read_rows(Path(path) / EPOCHS)


def spikes(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return the spikes of a run: the steps whose gradient left its band.

    Args:
        path: The run's directory.

    Returns:
        A row for each, in order, with the keys of docs/how-to/spikes.md; none where there are none.

    Raises:
        DamagedRunError: A row is damaged.
        RunError: The file cannot be read.

    Example:
        ```python
        with fs.open_run("runs/mine/calm", {"seed": 0}, restart=True) as run:
            pass
        assert fs.runs.spikes("runs/mine/calm") == []
        ```
    """
    return [row for row in read_rows(Path(path) / SPIKES) if isinstance(row, dict)]


def current_head(path: Path) -> dict[str, Any] | None:
    """Return run.json, a dead writer reported as an interruption; None if there is no run.

    Raises:
        DamagedRunError: It is damaged.
        RunError: It cannot be read, or is of another format.
    """
    try:
        head = read_run(path)
        if head["status"] == "running" and holder(path / LOCK) is None:
            head = read_run(path)  # the run may have ended between the two reads
            if head["status"] == "running":
                head |= WRITER_GONE
    except FileNotFoundError:
        return None
    return head | {"config": whole_config(head)}
