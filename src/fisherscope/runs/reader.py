"""Read run directories and exported files as tables, also while runs are being written."""

import difflib
import os
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fisherscope.plain_text import short_repr
from fisherscope.runs import outcomes
from fisherscope.runs.archive import HEADS, Archive
from fisherscope.runs.config_values import flatten_config
from fisherscope.runs.dead_network import dead_reasons
from fisherscope.runs.errors import DamagedRunError, RunError
from fisherscope.runs.jsonl_frames import concat_frames, read_frame
from fisherscope.runs.paths import EPOCHS, OUTCOMES, RUN, SPECTRA, STEPS
from fisherscope.runs.queries import current_head
from fisherscope.runs.row_types import setting_value
from fisherscope.runs.run_listing import distinct_names, linked_runs, run_directories
from fisherscope.runs.spectra_file import Spectra, read_spectra
from fisherscope.runs.step_times import STEP_TIMES, StepTimesRecord, read_step_times

READERS = 4
"""Files read at once; each needs twice its size in memory."""

HEAD_COLUMNS = ("run_id", "path", "status", "reason", "created", "updated")


def load_runs(root: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> "Runs":
    """Load every run under a directory, at any depth, also runs that are being written.

    A file that `fisherscope export` wrote counts as a directory of its runs. A run whose process exited
    without closing it is `interrupted`. A damaged file is left out, and named in `damaged` and in a warning.

    Args:
        root: Directory, run directory, exported file, or several of these.

    Returns:
        The runs, with their steps and epochs as polars frames.

    Raises:
        FileNotFoundError: There is no such directory or file.
        RunError: A file is no export.

    Cost: reads each run.json now; steps and epochs at their first use (200 runs of 10 000 measured steps, 48
    columns: 8 s and 1.5 GB at the peak on two processors, benchmarks/results/reading.json).

    Example:
        ```python
        with fs.open_run("runs/load/s32", {"batch_size": 32, "lr": 0.1}, restart=True) as run:
            run.log_epoch(val_error=0.25)
        runs = fs.load_runs("runs/load")
        assert runs.epochs["val/error"].to_list() == [0.25]
        ```
    """
    roots = [Path(r) for r in ([root] if isinstance(root, str | os.PathLike) else root)]
    for path in roots:
        if not path.exists():
            raise FileNotFoundError(
                f"loading runs: there is no {path}; give a directory of runs, or a file of fisherscope export"
            )
    archives = {path: Archive.read(path) for path in roots if not path.is_dir()}
    damaged: dict[Path, str] = {}
    heads = {path / name: head for path, archive in archives.items() for name, head in archive.heads.items()}
    for path, archive in archives.items():
        damaged |= {path / HEADS / short_repr(name): text for name, text in archive.damaged.items()}
    for path in dict.fromkeys(link for root in roots for link in linked_runs(root)):
        warnings.warn(
            f"{path} is a link to a run and not followed; give it, or the directory it leads to, by name",
            RuntimeWarning,
            stacklevel=2,
        )
    for path in dict.fromkeys(run for root in roots for run in run_directories(root)):
        try:
            if (head := current_head(path)) is not None:
                heads[path] = head
        except RunError as error:  # noqa: PERF203  (one bad run must not hide the others)
            damaged[path / RUN] = str(error)
    runs = Runs(distinct_names(heads), heads, damaged, archives)
    _warn(damaged)
    return runs


class Runs:
    """Hold runs as polars frames; made by `load_runs`.

    Attributes:
        paths: Directory of each run, by run id.
        damaged: Why a file could not be read, by its path; grows as frames are read.

    Example:
        ```python
        fs.open_run("runs/table/s16", {"batch_size": 16}).close()
        assert list(fs.load_runs("runs/table").paths) == ["s16"]
        ```
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
        """A row per run: id, path, status, reason, times, and its configuration.

        The first columns are `run_id`, `path`, `status`, `reason`, `created`, `updated`. Nested configuration
        has dotted names; lists are JSON text; a key named like one of these columns gets `config.` before it.
        """
        rows = []
        for run_id, path in self.paths.items():
            head = self._heads[path]
            row = {"run_id": run_id, "path": _path_text(path)} | {
                name: head[name] for name in HEAD_COLUMNS[2:]
            }
            for key, value in flatten_config(head["config"]):
                usable = setting_value(key, value)
                row[f"config.{key}" if key in HEAD_COLUMNS else key] = usable
                if usable is None and value is not None:
                    row[f"config.{key}"] = short_repr(value)
            rows.append(row)
        schema = dict.fromkeys(HEAD_COLUMNS, pl.String)
        return (
            pl.DataFrame(rows, infer_schema_length=None, strict=False)
            if rows
            else pl.DataFrame(schema=schema)
        )

    @cached_property
    def steps(self) -> pl.DataFrame:
        """A row per measured step: `run_id` and the columns of docs/measures.md."""
        return self._frame(STEPS, {"step": pl.Int64})

    @cached_property
    def epochs(self) -> pl.DataFrame:
        """A row per epoch: `run_id`, `epoch`, losses, metrics and totals."""
        return self._frame(EPOCHS, {"epoch": pl.Int64, "step": pl.Int64})

    @cached_property
    def dead(self) -> dict[str, str]:
        """Why the network is dead, by run id, of the finished runs whose is (`dead_reason`)."""
        finished = self.runs.filter(pl.col("status") == "finished")["run_id"].to_list()
        return dead_reasons(self.epochs.filter(pl.col("run_id").is_in(finished)))

    @cached_property
    def measures(self) -> pl.DataFrame:
        """A row per epoch of exported runs: measures computed from steps and spectra."""
        return concat_frames(self._archive_frames("measures"), {"epoch": pl.Int64})

    @cached_property
    def step_times(self) -> list[StepTimesRecord]:
        """Seconds of a step that `fisherscope times` measured, beside these runs or in their export."""
        archives = {archive.path: archive for path in self.paths.values() if (archive := self._archive(path))}
        parents = dict.fromkeys(path.parent for path in self.paths.values() if self._archive(path) is None)
        records: list[StepTimesRecord] = []
        for parent in parents:
            try:
                records += read_step_times(parent / STEP_TIMES)
            except RunError as error:  # noqa: PERF203  (times are lost, not the runs)
                self.damaged[parent / STEP_TIMES] = str(error)
                _warn({parent / STEP_TIMES: str(error)})
        for path, archive in archives.items():
            try:
                records += archive.step_times
            except RunError as error:  # noqa: PERF203  (likewise)
                self.mark_damaged(path / STEP_TIMES, str(error))
        return records

    def filter(self, *predicates: pl.Expr) -> "Runs":
        """Select the runs whose row in `runs` meets every predicate.

        Args:
            predicates: Conditions on the columns of `runs`.

        Returns:
            The selected runs; frames that were read already are not read again.

        Raises:
            polars.exceptions.ColumnNotFoundError: A predicate names a column that `runs` does not have.

        Example:
            ```python
            import polars as pl
            for seed in (0, 1):
                fs.open_run(f"runs/seeds/seed{seed}", {"seed": seed}).close()
            assert list(fs.load_runs("runs/seeds").filter(pl.col("seed") == 1).paths) == ["seed1"]
            ```
        """
        run_ids = self.runs.filter(list(predicates))["run_id"].to_list()
        paths = {run_id: self.paths[run_id] for run_id in run_ids}
        part = Runs(paths, self._heads, self.damaged, self._archives)
        for name in ("steps", "epochs", "measures"):
            if name in self.__dict__:
                part.__dict__[name] = self.__dict__[name].filter(pl.col("run_id").is_in(run_ids))
        return part

    def head(self, run_id: str) -> dict[str, Any]:
        """Return a run's run.json: configuration, environment, status.

        Args:
            run_id: A key of `paths`.

        Returns:
            Its JSON object.

        Raises:
            KeyError: There is no such run.

        Example:
            ```python
            fs.open_run("runs/heads/a", {"seed": 0}).close()
            assert fs.load_runs("runs/heads").head("a")["status"] == "interrupted"
            ```
        """
        return self._heads[self._path(run_id)]

    def spectra(self, run_id: str) -> Spectra:
        """Return the eigenvalues of each of a run's measured steps.

        Args:
            run_id: A key of `paths`.

        Returns:
            An array of shape (B,), float64, for each of the run's rows in `steps`, in their order; None for a
            row without a spectrum, and for exported runs.

        Raises:
            KeyError: There is no such run.
            DamagedRunError: A row refers to values that the file does not have.

        Example:
            ```python
            with fs.open_run("runs/spectra/a", {"seed": 0}, restart=True) as run:
                run.log_step({"step": 0}, [3.0, 1.0])
            assert fs.load_runs("runs/spectra").spectra("a")[0].tolist() == [3.0, 1.0]
            ```
        """
        path = self._path(run_id)
        rows = self.steps.filter(pl.col("run_id") == run_id)
        columns = {"spectrum_offset", "spectrum_length"}
        exported = self._archive(path) is not None
        if exported or not columns <= set(rows.columns) or not (path / SPECTRA).exists():
            return [None] * len(rows)
        extents = list(zip(rows["spectrum_offset"], rows["spectrum_length"], strict=True))
        return read_spectra(path / SPECTRA, extents)

    def outcomes(self, run_id: str) -> "dict[str, np.ndarray[Any, Any]]":
        """Return a run's final per-example arrays.

        Args:
            run_id: A key of `paths`.

        Returns:
            The arrays by name, shape (samples,), in the dtype they were logged with; none before the run's
            end, and none for exported runs.

        Raises:
            KeyError: There is no such run.
            DamagedRunError: The file is damaged.

        Example:
            ```python
            with fs.open_run("runs/outcomes/a", {"seed": 0}, restart=True) as run:
                run.log_outcomes(correct=[True, False])
            assert fs.load_runs("runs/outcomes").outcomes("a")["correct"].tolist() == [True, False]
            ```
        """
        path = self._path(run_id)
        return outcomes.read(path / OUTCOMES) if self._archive(path) is None else {}

    def mark_damaged(self, path: Path, reason: str) -> None:
        """Note that a file is left out, and warn once.

        Args:
            path: The file.
            reason: Why, in words.

        Example:
            ```python
            from pathlib import Path

            fs.open_run("runs/marked/a", {"seed": 0}).close()
            runs = fs.load_runs("runs/marked")
            runs.mark_damaged(Path("runs/marked/a/spectra.bin"), "reading spectra.bin: it ends too early")
            assert len(runs.damaged) == 1
            ```
        """
        if path not in self.damaged:
            self.damaged[path] = reason
            _warn({path: reason})

    def _path(self, run_id: str) -> Path:
        if run_id not in self.paths:
            near = difflib.get_close_matches(run_id, self.paths, n=3)
            hint = f"; near: {', '.join(near)}" if near else ""
            raise KeyError(f"no run {run_id!r} among {len(self)}{hint}")
        return self.paths[run_id]

    def _frame(self, name: str, empty: dict[str, Any]) -> pl.DataFrame:
        directories = {run_id: path for run_id, path in self.paths.items() if self._archive(path) is None}
        with ThreadPoolExecutor(READERS) as pool:
            tables = list(pool.map(lambda path: read_frame(path / name), directories.values()))
        damaged = {
            path / name: str(rows)
            for path, rows in zip(directories.values(), tables, strict=True)
            if isinstance(rows, DamagedRunError)
        }
        self.damaged.update(damaged)
        _warn(damaged)
        frames = [
            rows.select(pl.lit(run_id).alias("run_id"), pl.exclude("run_id"))
            for run_id, rows in zip(directories, tables, strict=True)
            if isinstance(rows, pl.DataFrame)
        ]
        return concat_frames([*frames, *self._archive_frames(name.removesuffix(".jsonl"))], empty)

    def _archive(self, path: Path) -> Archive | None:
        """Return the exported file that holds a run; None for a run directory."""
        return next((self._archives[up] for up in path.parents if up in self._archives), None)

    def _archive_frames(self, name: str) -> list[pl.DataFrame]:
        """Return a table's rows of the exported runs, a frame per file."""
        run_ids: dict[Path, dict[str, str]] = {}
        for run_id, path in self.paths.items():
            if (archive := self._archive(path)) is not None:
                run_ids.setdefault(archive.path, {})[path.relative_to(archive.path).as_posix()] = run_id
        frames, damaged = [], dict[Path, str]()
        for path, names in run_ids.items():
            try:
                rows = self._archives[path].table(name).filter(pl.col("run_id").is_in(list(names)))
                frames.append(
                    rows.with_columns(pl.col("run_id").replace_strict(names, return_dtype=pl.String))
                )
            except DamagedRunError as error:  # noqa: PERF203  (one bad file must not hide the others)
                damaged[path / f"{name}.parquet"] = str(error)
        self.damaged.update(damaged)
        _warn(damaged)
        return frames


def _path_text(path: Path) -> str:
    """Write a path; the bytes of its names that are no text are written as text."""
    return str(path).encode(errors="surrogateescape").decode(errors="backslashreplace")


def _warn(damaged: dict[Path, str]) -> None:
    for text in damaged.values():
        warnings.warn(f"{text}; left out", RuntimeWarning, stacklevel=3)
