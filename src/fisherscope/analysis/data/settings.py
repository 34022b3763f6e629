"""Runs grouped as settings (batch size and learning rate, or schedule) and seeds."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fisherscope.analysis.data.compared_metric import compared_metric
from fisherscope.analysis.data.setting_notes import content_text, count_text, setting_notes
from fisherscope.analysis.data.setting_of_run import setting_row
from fisherscope.analysis.errors import AnalysisError
from fisherscope.plain_text import short_repr, short_text
from fisherscope.runs.reader import Runs, load_runs

FloatArray = NDArray[np.float64]
RunsLike = Runs | str | os.PathLike[str]


@dataclass(frozen=True)
class Settings:
    """Runs of one task, each with its setting; made by `settings_of`.

    Args:
        runs: The runs.
        frame: One row per run: `run_id, setting, fixed, batch_size, lr, seed, status, reached, planned,
            path`. `setting` is as the paper writes it (`s32-lr0.1`); `batch_size` of a schedule is null.
        task: Name of the task; empty if the runs do not say.
        notes: What a reader must know: unfinished, diverged and left-out runs.
        cache: Measures of these runs once computed.
    """

    runs: Runs
    frame: pl.DataFrame
    task: str
    notes: tuple[str, ...]
    cache: dict[str, pl.DataFrame] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def epochs(self) -> pl.DataFrame:
        """The runs' epoch rows."""
        run_ids = self.frame["run_id"].to_list()
        return self.runs.epochs.filter(pl.col("run_id").is_in(run_ids))

    @cached_property
    def steps(self) -> pl.DataFrame:
        """The runs' measured steps."""
        run_ids = self.frame["run_id"].to_list()
        return self.runs.steps.filter(pl.col("run_id").is_in(run_ids))

    @property
    def last_epoch(self) -> int:
        """The largest epoch that any run reached; 0 for none."""
        largest: Any = self.frame["reached"].max()
        return int(largest or 0)

    @property
    def planned(self) -> int:
        """Length of the schedule in epochs; what was reached where the runs do not say."""
        largest: Any = self.frame["planned"].max()
        return int(largest or self.last_epoch)

    def where(self, *predicates: pl.Expr) -> "Settings":
        """Keep the runs whose row of `frame` fulfils all predicates.

        Args:
            *predicates: Expressions over the columns of `frame`.

        Returns:
            A view with the same runs and cache.
        """
        return Settings(self.runs, self.frame.filter(list(predicates)), self.task, self.notes, self.cache)

    def fixed(self) -> "Settings":
        """Keep the runs with a constant batch size.

        Returns:
            A view with the same runs and cache.
        """
        return self.where(pl.col("fixed"))

    def metric(self, name: str | None = None) -> tuple[str, bool]:
        """Choose the column of the epochs that settings are compared by.

        Args:
            name: Column, or its last part; by default the task's metric, else the validation error or
                loss, or the test error or loss.

        Returns:
            The column, and whether smaller is better.

        Raises:
            AnalysisError: There is no such column.
        """
        return compared_metric(self.epochs.columns, self.runs.runs, name, self.describe)

    def describe(self) -> str:
        """Describe what is there.

        Returns:
            Runs by status, settings, seeds and task, in a few words.
        """
        frame, statuses = self.frame, Counter(self.frame["status"].to_list())
        statuses_text = ", ".join(f"{count} {status}" for status, count in statuses.most_common())
        settings, seeds = frame["setting"].n_unique(), frame["seed"].n_unique()
        return (
            f"{count_text(len(frame), 'run')}{f' ({statuses_text})' if statuses_text else ''} of "
            f"{count_text(settings, 'setting')}, "
            f"{count_text(seeds, 'seed')}" + (f", task {short_text(self.task)}" if self.task else "")
        )


def concat_runs(places: Sequence[str | os.PathLike[str]]) -> RunsLike:
    """Load the runs of several directories or exported files as one.

    Args:
        places: Directories or exported files.

    Returns:
        The runs; a single place is returned as it is, so that errors can name it.

    Example:
        ```python
        import fisherscope as fs
        from fisherscope import analysis

        for size in (8, 16):
            with fs.open_run(f"runs/part{size}/run", {"batch_size": size, "lr": 0.1, "seed": 0}) as run:
                run.log_epoch(val_error=0.1)
        assert len(analysis.together(["runs/part8", "runs/part16"])) == 2
        ```
    """
    return load_runs(places) if len(places) > 1 else places[0]


together = concat_runs


def settings_of(runs: RunsLike, *, task: str | None = None) -> Settings:
    """Group runs as settings.

    Args:
        runs: From `load_runs`, or a directory.
        task: Task, if the runs are of several.

    Returns:
        The runs with their settings, and notes on what is missing.

    Raises:
        AnalysisError: There is no run, or there are several tasks and none was named.

    Example:
        ```python
        import polars as pl

        import fisherscope as fs
        from fisherscope import analysis

        for seed in (0, 1):
            config = {"batch_size": 8, "lr": 0.1, "seed": seed, "epochs": 1}
            with fs.open_run(f"runs/settings/seed{seed}", config) as run:
                run.log_epoch(val_error=0.1)
        settings = analysis.settings_of("runs/settings")
        assert settings.frame["setting"].to_list() == ["s8-lr0.1", "s8-lr0.1"]
        assert settings.fixed().where(pl.col("seed") == 1).frame.height == 1
        assert settings.metric() == ("val/error", True)
        print(settings.describe())
        ```
    """
    loaded = runs if isinstance(runs, Runs) else load_runs(runs)
    where = "" if isinstance(runs, Runs) else f" in {os.fspath(runs)}"
    if not len(loaded):
        raise AnalysisError(f"analysing runs: there is no run{where}{content_text(runs)}")
    loaded, name = _of_task(loaded, task)
    frame = pl.DataFrame(
        [setting_row(row) for row in loaded.runs.iter_rows(named=True)], infer_schema_length=None
    )
    reached = (
        loaded.epochs.group_by("run_id").agg(pl.col("epoch").max().alias("reached"))
        if len(loaded.epochs)
        else pl.DataFrame(schema={"run_id": pl.String, "reached": pl.Int64})
    )
    frame = frame.join(reached, on="run_id", how="left").with_columns(pl.col("reached").fill_null(0))
    ended_nowhere = pl.col("run_id").is_in(_runs_without_finite_end(loaded)) & (
        pl.col("status") == "finished"
    )
    frame = frame.with_columns(
        status=pl.when(ended_nowhere).then(pl.lit("diverged")).otherwise(pl.col("status"))
    )
    frame = frame.with_columns(dead=pl.col("run_id").is_in(list(loaded.dead)))
    kinds = {"batch_size": pl.Int64, "planned": pl.Int64, "lr": pl.Float64, "seed": pl.Int64}
    frame = frame.with_columns(pl.col(c).cast(kind, strict=False) for c, kind in kinds.items())
    without_setting = frame.filter(pl.col("setting") == "")
    if len(without_setting) == len(frame):
        raise AnalysisError(
            f"analysing {count_text(len(frame), 'run')}{where}: none has a batch size and a learning "
            "rate, or a policy, in its configuration; open runs by open_run(path, "
            "config={'batch_size': 32, 'lr': 0.1, 'seed': 0})"
        )
    frame = frame.filter(pl.col("setting") != "").sort("batch_size", "lr", "setting", "seed", nulls_last=True)
    return Settings(loaded, frame, name, tuple(setting_notes(frame, len(without_setting), loaded)))


def _runs_without_finite_end(runs: Runs) -> list[str]:
    """Return the runs whose last epoch recorded an infinite or undefined metric: they rank last."""
    numeric = [c for c, kind in runs.epochs.schema.items() if kind.is_float()]
    validation = [c for c in numeric if c.startswith("val/")] or [c for c in numeric if c.startswith("test/")]
    if not validation or not len(runs.epochs):
        return []
    last = runs.epochs.sort("epoch").group_by("run_id").last()
    lost = last.filter(pl.any_horizontal(pl.col(name).is_finite().not_() for name in validation))
    return [str(run_id) for run_id in lost["run_id"]]


def _of_task(runs: Runs, task: str | None) -> tuple[Runs, str]:
    if "task" not in runs.runs.columns:
        return runs, ""
    counts = Counter(str(name) for name in runs.runs["task"].to_list())
    task_list = ", ".join(f"{short_text(name)} ({count} runs)" for name, count in counts.most_common())
    if task is None and len(counts) > 1:
        raise AnalysisError(
            f"analysing {len(runs)} runs: they are of several tasks, {task_list}; name one by task= "
            "(--task), or give its directory"
        )
    name = task if task is not None else next(iter(counts))
    if name not in counts:
        raise AnalysisError(f"analysing the task {short_repr(name)}: the runs are of {task_list}")
    if len(counts) == 1:
        return runs, name
    return runs.filter(pl.lit(pl.Series([str(value) == name for value in runs.runs["task"].to_list()]))), name
