"""Runs exported to one small file: their run.json and tables; `load_runs` reads it.

Spectra, outcomes and checkpoints are left out.

A zip of `runs.json` (format, heads by run id), one Parquet file per table: `epochs`, `steps`, `measures`;
and `step_times.json`, if seconds of a step were measured.
Equal runs give equal bytes.
"""

import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import polars as pl

from fisherscope.bounded_reading import LARGEST_DOCUMENT, open_regular, parse_json
from fisherscope.plain_text import short_repr
from fisherscope.runs.atomic_io import replace
from fisherscope.runs.errors import DamagedRunError, RunError
from fisherscope.runs.jsonl_frames import frame_problem
from fisherscope.runs.metadata import check_head
from fisherscope.runs.step_times import STEP_TIMES, StepTimesRecord, parse_step_times, step_times_json

FORMAT = 1
HEADS = "runs.json"
TABLES = ("epochs", "steps", "measures")
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time stamp of every member of the zip: the earliest that it can have."""

ENVIRONMENT_KEYS = ("fisherscope", "python", "torch", "numpy", "machine", "cpus", "device")
"""Keys of the environment that are exported: versions and kind of machine, no command lines, no paths."""

EXACT = ("train/", "val/", "test/")
"""Columns of metrics, which stay in 64 bits: ties must stay ties. Other floats get 32 bits."""

LARGEST_MEMBER = 1 << 27
"""Bytes of a table in the file (128 MiB; 100 runs take 1 MB)."""

LARGEST_TABLE = 30_000_000
"""Values of a table: 1000 runs of 2000 measured steps and 15 columns."""

LONGEST_NAME = 1000
"""Characters of a run id."""

LARGEST = 1e38
"""Largest number that is stored in 32 bits."""


class Archive:
    """Read an exported file; each table is read at its first use.

    Args:
        path: The file.
        heads: run.json of each run, by run id.
        damaged: Why a run is left out, by its name in the file.
    """

    def __init__(self, path: Path, heads: dict[str, dict[str, Any]], damaged: dict[str, str]) -> None:
        self.path, self.heads, self.damaged = path, heads, damaged
        self._tables: dict[str, pl.DataFrame] = {}

    @classmethod
    def read(cls, path: Path) -> "Archive":
        """Open the archive at a path.

        Returns:
            The archive; no table is read yet.

        Raises:
            RunError: The file is no export, is damaged, or is of another format.
        """
        try:
            contents = parse_json(_read_member(path, HEADS, LARGEST_DOCUMENT))
        except ValueError as error:
            raise RunError(
                f"loading runs: {path}: its {HEADS} is not JSON ({error}); export the runs again"
            ) from error
        version = contents.get("format") if isinstance(contents, dict) else contents
        if version != FORMAT or isinstance(version, bool):
            raise RunError(
                f"loading runs: {path} has format {short_repr(version)}, this version of fisherscope "
                f"reads {FORMAT}; use the version that wrote it"
            )
        if not isinstance(contents.get("runs"), dict):
            raise RunError(
                f"loading runs: {path}: 'runs' of its {HEADS} is {short_repr(contents.get('runs'))}, "
                "expected a mapping of run ids to runs; export the runs again"
            )
        heads, damaged = dict[str, dict[str, Any]](), dict[str, str]()
        for name, head in contents["runs"].items():
            try:
                _check_name(name, path)
                check_head(head, f"{path}, run {short_repr(name)}")
                heads[name] = head
            except RunError as error:  # noqa: PERF203  (one bad run must not hide the others)
                damaged[name] = str(error)
        return cls(path, heads, damaged)

    @property
    def step_times(self) -> list[StepTimesRecord]:
        """The measured seconds of a step that were exported with the runs."""
        with zipfile.ZipFile(self.path) as file:
            if STEP_TIMES not in file.namelist():
                return []
        data = _read_member(self.path, STEP_TIMES, LARGEST_DOCUMENT)
        return parse_step_times(data.decode(errors="replace"), f"{self.path}/{STEP_TIMES}")

    def table(self, name: str) -> pl.DataFrame:
        """Return one of `TABLES`; floats in 64 bits.

        Raises:
            DamagedRunError: The table is damaged, too large, or a known column holds something else.
        """
        if name not in self._tables:
            self._tables[name] = self._read_table(name)
        return self._tables[name]

    def _read_table(self, name: str) -> pl.DataFrame:
        where = f"reading {name} of {self.path}"
        try:
            data = _read_member(self.path, f"{name}.parquet", LARGEST_MEMBER)
        except RunError as error:
            raise DamagedRunError(str(error)) from error
        try:
            lazy = pl.scan_parquet(io.BytesIO(data))
            columns = len(lazy.collect_schema())
            rows = int(lazy.select(pl.len()).collect().item())
            if rows * columns > LARGEST_TABLE:
                raise DamagedRunError(
                    f"{where}: it has {rows} rows of {columns} columns, expected at most "
                    f"{LARGEST_TABLE} values; export fewer runs to a file"
                )
            frame = pl.read_parquet(io.BytesIO(data))
        except DamagedRunError:
            raise
        except (Exception, pl.exceptions.PanicException) as error:  # whatever the bytes make polars raise
            raise DamagedRunError(
                f"{where}: damaged ({short_repr(str(error))}); export the runs again"
            ) from error
        if "run_id" not in frame.columns or frame["run_id"].dtype != pl.String:
            raise DamagedRunError(f"{where}: it has no column of run ids; export the runs again")
        if (problem := frame_problem(frame, f"{name}.jsonl")) is not None and name != "measures":
            raise DamagedRunError(f"{where}: {problem}; export the runs again")
        if name == "measures":
            frame = _numeric_measures(frame)
        return frame.with_columns(pl.col(pl.Float32).cast(pl.Float64))


def _numeric_measures(frame: pl.DataFrame) -> pl.DataFrame:
    """Keep the columns of an export's measures that are numbers.

    Returns:
        The columns.

    Raises:
        DamagedRunError: Its epochs are no whole numbers.
    """
    if "epoch" not in frame.columns or not frame["epoch"].dtype.is_integer():
        raise DamagedRunError("reading the measures of an export: 'epoch' is missing or no whole number")
    return frame.select("run_id", pl.selectors.numeric())


def _check_name(name: str, path: Path) -> None:
    """Check that a run id of an export names a run inside it.

    Raises:
        DamagedRunError: It is absolute, leads out of the file, or is not how readers write it.
    """
    inside = bool(name) and "\0" not in name and len(name) <= LONGEST_NAME
    parts = PurePosixPath(name).parts
    if (
        not inside
        or path / name != path.joinpath(*parts)
        or (path / name).parts[: len(path.parts)] != path.parts
    ):
        inside = False
    if not inside or ".." in parts or PurePosixPath(name).as_posix() != name or name == ".":
        raise DamagedRunError(
            f"loading runs: {path}: a run is named {short_repr(name)}, expected a name inside the export; "
            "left out, nothing outside the file is read"
        )


def write(
    path: str | os.PathLike[str], heads: Mapping[str, dict[str, Any]], tables: Mapping[str, pl.DataFrame],
    step_times: Sequence[StepTimesRecord] = (),
) -> None:  # fmt: skip
    """Write an archive; an existing file is replaced once the new one is complete.

    Args:
        path: The file.
        heads: run.json of each run, by run id.
        tables: The tables by name, one for each of `TABLES`.
        step_times: Measured seconds of a step.

    Raises:
        RunError: The disk is full or read-only; an older file is still there, whole.
    """
    contents = {"format": FORMAT, "runs": {run_id: _shareable_head(head) for run_id, head in heads.items()}}
    replace(Path(path), lambda file: _write_members(file, contents, tables, step_times))


def _write_members(
    target: BinaryIO,
    contents: Mapping[str, Any],
    tables: Mapping[str, pl.DataFrame],
    step_times: Sequence[StepTimesRecord],
) -> None:
    with zipfile.ZipFile(target, "w") as file:
        text = json.dumps(contents, separators=(",", ":"), ensure_ascii=False)
        file.writestr(zipfile.ZipInfo(HEADS, EPOCH), text, zipfile.ZIP_DEFLATED, 9)
        for name in TABLES:
            buffer = io.BytesIO()
            _compact(tables[name]).write_parquet(buffer, compression="zstd", compression_level=19)
            file.writestr(zipfile.ZipInfo(f"{name}.parquet", EPOCH), buffer.getvalue())
        if step_times:
            times = json.dumps(step_times_json(step_times), ensure_ascii=False)
            file.writestr(zipfile.ZipInfo(STEP_TIMES, EPOCH), times, zipfile.ZIP_DEFLATED, 9)


def add_step_times_to_archive(path: Path, record: StepTimesRecord) -> None:
    """Add measured seconds of a step to an archive; everything else in it stays as it is.

    Args:
        path: The file.
        record: What was measured; it replaces an earlier record of the same configuration.

    Raises:
        RunError: The file is no archive.
    """
    others = [other for other in Archive.read(path).step_times if other.config != record.config]
    text = json.dumps(step_times_json([*others, record]), ensure_ascii=False)

    def write_members(target: BinaryIO) -> None:
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
            for member in old.infolist():
                if member.filename != STEP_TIMES:
                    new.writestr(member, _read_member(path, member.filename, LARGEST_MEMBER))
            new.writestr(zipfile.ZipInfo(STEP_TIMES, EPOCH), text, zipfile.ZIP_DEFLATED, 9)

    replace(path, write_members)


def _shareable_head(head: dict[str, Any]) -> dict[str, Any]:
    environment = {key: value for key, value in head["environment"].items() if key in ENVIRONMENT_KEYS}
    return head | {"environment": environment}


def _compact(frame: pl.DataFrame) -> pl.DataFrame:
    """Convert floats to 32 bits (relative error 6e-8), except metrics and large numbers."""
    floats = [name for name, kind in frame.schema.items() if kind == pl.Float64]
    largest = frame.select(pl.col(name).abs().max() for name in floats)
    small = [n for n in floats if not n.startswith(EXACT) and (largest[n][0] or 0.0) < LARGEST]
    return frame.with_columns(pl.col(name).cast(pl.Float32) for name in small)


def _read_member(path: Path, name: str, largest: int) -> bytes:
    """Read a member of the zip, at most `largest` bytes of it.

    Returns:
        Its bytes.

    Raises:
        RunError: The file is no export, is damaged, or the member is larger.
    """
    try:
        with (
            open(open_regular(path), "rb") as whole,
            zipfile.ZipFile(whole) as file,
            file.open(name) as member,
        ):
            data = member.read(largest + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RunError(
            f"loading runs: {path}: {error.strerror or error}; give a file that fisherscope export wrote"
        ) from error
    except Exception as error:  # whatever the bytes make zipfile and zlib raise
        raise RunError(
            f"loading runs: {path} is neither a directory nor a complete export of runs "
            f"({str(error).strip(chr(34)) or type(error).__name__}); give a file that `fisherscope export` "
            "wrote"
        ) from error
    if len(data) > largest:
        raise RunError(
            f"loading runs: {path}: its {name} unpacks to more than {largest} bytes; export fewer runs to a "
            "file"
        )
    return data
