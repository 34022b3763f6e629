"""Runs as settings: which batch size and rate or schedule, which seeds, how far, and what is missing."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fisherscope.analysis.errors import AnalysisError
from fisherscope.runs.reader import Runs, load_runs

FloatArray = NDArray[np.float64]
RunsLike = Runs | str | os.PathLike[str]

FIXED = re.compile(r"(?:s(?P<size>\d+))?(?:-?lr(?P<lr>[\d.]+(?:e-?\d+)?))?(?:-constant|\+.*)?")
FOLDER = re.compile(r"(?<=beacon:)[^@]*/(?=[^@/]+@)")
"""Where a file of beacons lay; its digest tells it from others."""
HIGHER_IS_BETTER = ("accuracy", "acc", "top1", "top5", "f1", "auc", "bleu", "r2")
PREFERRED = ("val/error", "val/loss", "test/error", "test/loss")
"""Metrics taken when none is named: validation before test (docs/evidence.md, rule 1)."""


@dataclass(frozen=True)
class Settings:
    """Runs of one task, each with its setting.

    Args:
        runs: The runs.
        frame: One row a run: `run_id, setting, fixed, batch_size, lr, seed, status, reached, planned, path`.
            `setting` is as the paper writes it (`s32-lr0.1`); `batch_size` of a schedule is null.
        task: Its name; empty where the runs do not say.
        notes: What a reader must know: unfinished, diverged, left out.
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
        known = self.frame["run_id"].to_list()
        return self.runs.epochs.filter(pl.col("run_id").is_in(known))

    @cached_property
    def steps(self) -> pl.DataFrame:
        """The runs' measured steps."""
        known = self.frame["run_id"].to_list()
        return self.runs.steps.filter(pl.col("run_id").is_in(known))

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
        """The runs whose row fits."""
        return Settings(self.runs, self.frame.filter(list(predicates)), self.task, self.notes, self.cache)

    def fixed(self) -> "Settings":
        """Only constant batch sizes."""
        return self.where(pl.col("fixed"))

    def metric(self, name: str | None = None) -> tuple[str, bool]:
        """Column of the metric in `epochs`, and whether smaller is better.

        Raises:
            AnalysisError: There is no such column.
        """
        columns = [c for c in self.epochs.columns if c.partition("/")[0] in ("train", "val", "test")]
        if name is None:
            told = _told(self.runs.runs, "metric")
            wanted = [f"val/{told}", f"test/{told}"] if told else []
            name = next((c for c in (*wanted, *PREFERRED) if c in columns), None)
        elif name not in columns and f"val/{name}" in columns:
            name = f"val/{name}"
        if name is None or name not in columns:
            missing = f"there is no {name}" if name else f"there is none of {', '.join(PREFERRED)}"
            raise AnalysisError(
                f"reading the metric of {self.describe()}: {missing} among the epochs' columns "
                f"({', '.join(columns) or 'no epoch has a metric'}); log it by "
                "run.log_epoch(val_error=…), or name another by metric="
            )
        smaller = name.rpartition("/")[2] not in HIGHER_IS_BETTER
        if name.rpartition("/")[2] == _told(self.runs.runs, "metric"):
            smaller = (
                _told(self.runs.runs, "direction") != "max" if _told(self.runs.runs, "direction") else smaller
            )
        return name, smaller

    def describe(self) -> str:
        """What is there, in a few words."""
        frame, statuses = self.frame, Counter(self.frame["status"].to_list())
        told = ", ".join(f"{count} {status}" for status, count in statuses.most_common())
        settings, seeds = frame["setting"].n_unique(), frame["seed"].n_unique()
        return (
            f"{counted(len(frame), 'run')}{f' ({told})' if told else ''} of {counted(settings, 'setting')}, "
            f"{counted(seeds, 'seed')}" + (f", task {self.task}" if self.task else "")
        )


def counted(count: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def together(places: Sequence[str | os.PathLike[str]]) -> RunsLike:
    """Runs of several directories or exported files as one; a single place as it is, for its name's sake."""
    return load_runs(places) if len(places) > 1 else places[0]


def settings_of(runs: RunsLike, *, task: str | None = None) -> Settings:
    """The runs as settings.

    Args:
        runs: From `load_runs`, or a directory.
        task: Which task, where there are several.

    Raises:
        AnalysisError: There is no run, or there are several tasks and none was named.
    """
    loaded = runs if isinstance(runs, Runs) else load_runs(runs)
    where = "" if isinstance(runs, Runs) else f" in {os.fspath(runs)}"
    if not len(loaded):
        raise AnalysisError(f"analysing runs: there is no run{where}{_instead(runs)}")
    loaded, name = _of_task(loaded, task)
    frame = pl.DataFrame([_row(row) for row in loaded.runs.iter_rows(named=True)], infer_schema_length=None)
    reached = (
        loaded.epochs.group_by("run_id").agg(pl.col("epoch").max().alias("reached"))
        if len(loaded.epochs)
        else pl.DataFrame(schema={"run_id": pl.String, "reached": pl.Int64})
    )
    frame = frame.join(reached, on="run_id", how="left").with_columns(pl.col("reached").fill_null(0))
    kinds = {"batch_size": pl.Int64, "planned": pl.Int64, "lr": pl.Float64, "seed": pl.Int64}
    frame = frame.with_columns(pl.col(c).cast(kind, strict=False) for c, kind in kinds.items())
    unnamed = frame.filter(pl.col("setting") == "")
    if len(unnamed) == len(frame):
        raise AnalysisError(
            f"analysing {counted(len(frame), 'run')}{where}: none has a batch size and a learning rate, or a "
            "policy, in its configuration; open runs by open_run(path, config={'batch_size': 32, 'lr': 0.1, "
            "'seed': 0})"
        )
    frame = frame.filter(pl.col("setting") != "").sort("batch_size", "lr", "setting", "seed", nulls_last=True)
    return Settings(loaded, frame, name, tuple(_notes(frame, len(unnamed), loaded)))


def setting_name(batch_size: int, lr: float) -> str:
    """As the paper writes it: `s32-lr0.1`."""
    return f"s{batch_size}-lr{lr:.6g}"


def constant_sizes(runs: Runs) -> dict[str, int | None]:
    """The batch size of each run, by run id; None where it changes or is not told."""
    rows = (_row(row) for row in runs.runs.iter_rows(named=True))
    return {row["run_id"]: row["batch_size"] for row in rows}


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """One run: its setting, and whether its batch size stays."""
    policy, size, lr = str(row.get("policy") or ""), row.get("batch_size"), row.get("lr")
    match = FIXED.fullmatch(policy)
    if match is not None:
        size = match["size"] or size
        lr = match["lr"] or lr
        suffix = (
            policy[policy.index("+") :] if "+" in policy else "-constant" if "-constant" in policy else ""
        )
        name = "" if size is None or lr is None else setting_name(int(size), float(lr)) + suffix
    else:
        named = re.search(r"-lr([\d.]+(?:e-?\d+)?)", policy)
        lr = named[1] if named else lr
        shown = FOLDER.sub("", policy)
        size, name = None, shown if named or lr is None else f"{shown}-lr{float(lr):.6g}"
    return {
        "run_id": row["run_id"],
        "setting": name,
        "fixed": match is not None,
        "batch_size": None if size is None else int(size),
        "lr": None if lr is None else float(lr),
        "seed": int(row["seed"]) if row.get("seed") is not None else 0,
        "status": row["status"],
        "planned": row.get("epochs"),
        "path": row["path"],
    }


def _of_task(runs: Runs, task: str | None) -> tuple[Runs, str]:
    if "task" not in runs.runs.columns:
        return runs, ""
    counts = Counter(str(name) for name in runs.runs["task"].to_list())
    told = ", ".join(f"{name} ({count} runs)" for name, count in counts.most_common())
    if task is None and len(counts) > 1:
        raise AnalysisError(
            f"analysing {len(runs)} runs: they are of several tasks, {told}; name one by task= (--task), "
            "or give its directory"
        )
    name = task if task is not None else next(iter(counts))
    if name not in counts:
        raise AnalysisError(f"analysing the task {name!r}: the runs are of {told}")
    return (runs.filter(pl.col("task").cast(pl.String) == name) if len(counts) > 1 else runs), name


def _notes(frame: pl.DataFrame, unnamed: int, runs: Runs) -> Iterable[str]:
    if unnamed:
        yield f"{unnamed} runs left out: their configuration has no batch size and rate, and no policy."
    if runs.damaged:
        yield f"{len(runs.damaged)} damaged files left out, such as {next(iter(runs.damaged))}."
    for status, what in (("diverged", "diverged"), ("failed", "failed")):
        names = sorted(set(frame.filter(pl.col("status") == status)["setting"].to_list()))
        if names:
            yield f"{_few(names)} {what}."
    unfinished = frame.filter(pl.col("status").is_in(["running", "interrupted"]))
    if len(unfinished):
        yield f"{len(unfinished)} of {len(frame)} runs are not finished."
    if not len(runs.epochs):
        yield "No run has logged an epoch."
    yield from _mixed(runs.runs.filter(pl.col("run_id").is_in(frame["run_id"].to_list())))
    seeds = frame.group_by("setting").agg(pl.col("seed").n_unique())["seed"]
    if (seeds == 1).all():
        yield "One seed a setting: there is no spread to compare differences with."


def _mixed(runs: pl.DataFrame) -> Iterable[str]:
    """What differs between runs that their errors depend on."""
    for key, what, absent in (("epochs", "schedules of {} epochs", ""), ("limit_train", "{} samples", "all")):
        values = set(runs[key].to_list()) if key in runs.columns else set()
        told = [str(value) for value in sorted(values - {None})]
        told += [absent] if absent and None in values else []
        if len(told) > 1:
            listed = what.format(" and ".join(told))
            yield f"They mix {listed}: their errors do not compare; analyse them apart."


def _few(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _instead(runs: RunsLike) -> str:
    if isinstance(runs, Runs):
        return "; they may have been filtered away"
    if not Path(runs).is_dir():
        return ", it is an export of none"
    inside = sorted(path.name for path in Path(runs).iterdir())
    found = f"; it holds {_few(inside)}, and no readable run.json at any depth" if inside else ", it is empty"
    return found + "; give the directory that a sweep or open_run wrote to"


def _told(frame: pl.DataFrame, key: str) -> str | None:
    if key not in frame.columns:
        return None
    values = {str(value) for value in frame[key].to_list() if value is not None}
    return next(iter(values)) if len(values) == 1 else None
