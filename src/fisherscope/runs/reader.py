"""Run directories and exported files as tables, also while runs are being written."""

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fisherscope.runs import outcomes
from fisherscope.runs.archive import Archive
from fisherscope.runs.errors import DamagedRunError, RunError
from fisherscope.runs.jsonl_frames import frame_of_lines
from fisherscope.runs.lock import holder
from fisherscope.runs.metadata import read_run
from fisherscope.runs.paths import EPOCHS, GONE, LOCK, OUTCOMES, RUN, SPECTRA, STEPS

Spectra = list["np.ndarray[Any, Any] | None"]
READERS = 4
"""Files read at once; each takes its size in memory twice over."""

FIXED = ("run_id", "path", "status", "reason", "created", "updated")


def load_runs(root: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> "Runs":
    """Every run under `root`, at any depth; runs that are being written as far as they are.

    A file that `fisherscope export` wrote counts as a directory of its runs. A run whose process is gone
    without saying so is `interrupted`. Damaged files are named in `damaged` and in a warning, and left out.

    Args:
        root: Directory, run directory, exported file, or several of these.

    Raises:
        FileNotFoundError: There is no such directory or file.
        RunError: A file is no export.

    Cost: heads at once; steps and epochs when they are first asked for (200 runs of 10 000 measured steps, 48
    columns: 8 s and 1.5 GB at the peak on two processors, benchmarks/results/reading.json).
    """
    roots = [Path(r) for r in ([root] if isinstance(root, str | os.PathLike) else root)]
    for path in roots:
        if not path.exists():
            raise FileNotFoundError(
                f"loading runs: there is no {path}; give a directory that holds run directories, or a file "
                "that `fisherscope export` wrote"
            )
    archives = {path: Archive.read(path) for path in roots if not path.is_dir()}
    damaged: dict[Path, str] = {}
    heads = {path / name: head for path, held in archives.items() for name, head in held.heads.items()}
    for path in dict.fromkeys(place for root in roots for place in _places(root)):
        try:
            if (head := _head(path)) is not None:
                heads[path] = head
        except RunError as error:  # noqa: PERF203  (one bad run must not hide the others)
            damaged[path / RUN] = str(error)
    runs = Runs(_ids(heads), heads, damaged, archives)
    _warn(damaged)
    return runs


class Runs:
    """Runs as polars frames; made by `load_runs`.

    `damaged` says of each file that could not be read why; it grows as frames are read.
    """

    def __init__(
        self,
        paths: dict[str, Path],
        heads: dict[Path, dict[str, Any]],
        damaged: dict[Path, str],
        archives: Mapping[Path, Archive] | None = None,
    ) -> None:
        self.paths, self.damaged, self._heads = paths, damaged, heads
        self._archives = archives or {}

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        counts = self.runs["status"].value_counts(sort=True).rows() if len(self) else []
        return f"<Runs: {len(self)}; {', '.join(f'{count} {status}' for status, count in counts) or 'none'}>"

    @cached_property
    def runs(self) -> pl.DataFrame:
        """A row a run: `run_id`, `path`, `status`, `reason`, `created`, `updated`, and its configuration.

        Nested configuration has dotted names; lists are JSON text. A key that is one of the columns before
        has `config.` before it.
        """
        rows = []
        for run_id, path in self.paths.items():
            head = self._heads[path]
            row = {"run_id": run_id, "path": str(path)} | {name: head[name] for name in FIXED[2:]}
            rows.append(row | {f"config.{k}" if k in FIXED else k: v for k, v in _flat(head["config"])})
        schema = dict.fromkeys(FIXED, pl.String)
        return (
            pl.DataFrame(rows, infer_schema_length=None, strict=False)
            if rows
            else pl.DataFrame(schema=schema)
        )

    @cached_property
    def steps(self) -> pl.DataFrame:
        """A row a measured step: `run_id` and the columns of docs/measures.md."""
        return self._frame(STEPS, {"step": pl.Int64})

    @cached_property
    def epochs(self) -> pl.DataFrame:
        """A row an epoch: `run_id`, `epoch`, losses, metrics and totals."""
        return self._frame(EPOCHS, {"epoch": pl.Int64, "step": pl.Int64})

    @cached_property
    def measures(self) -> pl.DataFrame:
        """Of exported runs, a row an epoch: `run_id`, `epoch`, and measures made of steps and spectra."""
        return _joined(self._exported("measures"), {"epoch": pl.Int64})

    def filter(self, *predicates: pl.Expr) -> "Runs":
        """The runs whose row in `runs` fits: `runs.filter(pl.col("task") == "digits/mlp")`."""
        chosen = self.runs.filter(list(predicates))["run_id"].to_list()
        paths = {run_id: self.paths[run_id] for run_id in chosen}
        part = Runs(paths, self._heads, self.damaged, self._archives)
        for name in ("steps", "epochs", "measures"):  # what was read is not read again
            if name in self.__dict__:
                part.__dict__[name] = self.__dict__[name].filter(pl.col("run_id").is_in(chosen))
        return part

    def head(self, run_id: str) -> dict[str, Any]:
        """The run's run.json: configuration, environment, status."""
        return self._heads[self._path(run_id)]

    def spectra(self, run_id: str) -> Spectra:
        """Eigenvalues of each of the run's rows in `steps`, in their order; None where a row has none.

        Raises:
            KeyError: There is no such run.
            DamagedRunError: A row points at what the file does not have.
        """
        path = self._path(run_id)
        rows = self.steps.filter(pl.col("run_id") == run_id)
        if "spectrum_offset" not in rows.columns or not (path / SPECTRA).exists():
            return [None] * len(rows)
        values = np.fromfile(path / SPECTRA, dtype="<f8")
        places = zip(rows["spectrum_offset"], rows["spectrum_length"], strict=True)
        found: Spectra = [
            None if begin is None else values[begin : begin + length] for begin, length in places
        ]
        lengths = rows["spectrum_length"].to_list()
        if any(part is not None and len(part) != length for part, length in zip(found, lengths, strict=True)):
            raise DamagedRunError(
                f"reading {path / SPECTRA}: it ends ({len(values)} values) before the last spectrum "
                f"of {STEPS}; load the runs again if this one was being resumed, else restore it from a copy"
            )
        return found

    def outcomes(self, run_id: str) -> "dict[str, np.ndarray[Any, Any]]":
        """The run's final per-example arrays; empty before its end, and of exported runs.

        Raises:
            KeyError: There is no such run.
            DamagedRunError: The file is damaged.
        """
        path = self._path(run_id)
        return {} if self._archive(path) is not None else outcomes.read(path / OUTCOMES)

    def _path(self, run_id: str) -> Path:
        if run_id not in self.paths:
            import difflib

            near = difflib.get_close_matches(run_id, self.paths, n=3)
            raise KeyError(
                f"no run {run_id!r} among {len(self)}" + (f"; near: {', '.join(near)}" if near else "")
            )
        return self.paths[run_id]

    def _frame(self, name: str, empty: dict[str, Any]) -> pl.DataFrame:
        written = {run_id: path for run_id, path in self.paths.items() if self._archive(path) is None}
        with ThreadPoolExecutor(READERS) as pool:
            read = list(pool.map(lambda path: _rows(path / name), written.values()))
        damaged = {
            path / name: str(rows)
            for path, rows in zip(written.values(), read, strict=True)
            if isinstance(rows, DamagedRunError)
        }
        self.damaged.update(damaged)
        _warn(damaged)
        frames = [
            rows.select(pl.lit(run_id).alias("run_id"), pl.exclude("run_id"))
            for run_id, rows in zip(written, read, strict=True)
            if isinstance(rows, pl.DataFrame)
        ]
        return _joined([*frames, *self._exported(name.removesuffix(".jsonl"))], empty)

    def _archive(self, path: Path) -> Archive | None:
        """The exported file that a run is in."""
        return next((self._archives[up] for up in path.parents if up in self._archives), None)

    def _exported(self, name: str) -> list[pl.DataFrame]:
        """A table's rows of the exported runs among these, one frame a file, by their names here."""
        names: dict[Path, dict[str, str]] = {}
        for run_id, path in self.paths.items():
            if (held := self._archive(path)) is not None:
                names.setdefault(held.path, {})[path.relative_to(held.path).as_posix()] = run_id
        return [
            self._archives[path]
            .table(name)
            .filter(pl.col("run_id").is_in(list(here)))
            .with_columns(pl.col("run_id").replace_strict(here))
            for path, here in names.items()
        ]


def _joined(frames: list[pl.DataFrame], empty: dict[str, Any]) -> pl.DataFrame:
    if not frames:
        return pl.DataFrame(schema={"run_id": pl.String, **empty})
    return pl.concat(frames, how="diagonal_relaxed")


def _rows(path: Path) -> pl.DataFrame | DamagedRunError | None:
    try:
        return frame_of_lines(path)
    except DamagedRunError as error:
        return error


def _places(root: Path) -> Iterator[Path]:
    """Run directories at or under `root`, in the order of their names."""
    for path, directories, files in os.walk(root, followlinks=False):
        if RUN in files:
            directories.clear()
            yield Path(path)
        directories[:] = sorted(name for name in directories if not name.startswith("."))


def _head(path: Path) -> dict[str, Any] | None:
    """None where the run was removed meanwhile."""
    try:
        head = read_run(path)
    except FileNotFoundError:
        return None
    if head["status"] == "running" and holder(path / LOCK) is None:
        head = read_run(path)  # it may have ended between the two looks
        if head["status"] == "running":
            head |= GONE
    return head


def _ids(heads: dict[Path, dict[str, Any]]) -> dict[str, Path]:
    """Name → directory; runs of one name in several places get as much of their path as tells them apart."""
    depth: dict[Path, int] = dict.fromkeys(heads, 1)
    resolved = {path: path.resolve() for path in heads}
    while True:
        names: dict[str, list[Path]] = {}
        for path in heads:
            names.setdefault("/".join(resolved[path].parts[-depth[path] :]), []).append(path)
        shared = [path for paths in names.values() if len(paths) > 1 for path in paths]
        if not shared:
            return {name: paths[0] for name, paths in names.items()}
        for path in shared:
            depth[path] += 1


def _flat(config: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield before + key, json.dumps(value) if isinstance(value, list) else value


def _warn(damaged: dict[Path, str]) -> None:
    for text in damaged.values():
        warnings.warn(f"{text}; left out", RuntimeWarning, stacklevel=3)
