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
from pathlib import Path
from typing import Any

import polars as pl

from fisherscope.runs.errors import RunError
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

LARGEST = 1e38
"""Largest number that is stored in 32 bits."""


class Archive:
    """Read an exported file; each table is read at its first use.

    Args:
        path: The file.
        heads: run.json of each run, by run id.
    """

    def __init__(self, path: Path, heads: dict[str, dict[str, Any]]) -> None:
        self.path, self.heads = path, heads
        self._tables: dict[str, pl.DataFrame] = {}

    @classmethod
    def read(cls, path: Path) -> "Archive":
        """Open the archive at a path.

        Returns:
            The archive; no table is read yet.

        Raises:
            RunError: The file is no export, is damaged, or is of another format.
        """
        contents = json.loads(_read_member(path, HEADS))
        if contents.get("format") != FORMAT:
            raise RunError(
                f"loading runs: {path} has format {contents.get('format')!r}, this version of fisherscope "
                f"reads {FORMAT}; use the version that wrote it"
            )
        return cls(path, contents["runs"])

    @property
    def step_times(self) -> list[StepTimesRecord]:
        """The measured seconds of a step that were exported with the runs."""
        with zipfile.ZipFile(self.path) as file:
            if STEP_TIMES not in file.namelist():
                return []
        return parse_step_times(_read_member(self.path, STEP_TIMES).decode(), f"{self.path}/{STEP_TIMES}")

    def table(self, name: str) -> pl.DataFrame:
        """Return one of `TABLES`; floats in 64 bits."""
        if name not in self._tables:
            frame = pl.read_parquet(io.BytesIO(_read_member(self.path, f"{name}.parquet")))
            self._tables[name] = frame.with_columns(pl.col(pl.Float32).cast(pl.Float64))
        return self._tables[name]


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
    """
    contents = {"format": FORMAT, "runs": {run_id: _shareable_head(head) for run_id, head in heads.items()}}
    target = Path(path)
    partial = target.with_name(f"{target.name}.partial")
    with zipfile.ZipFile(partial, "w") as file:
        text = json.dumps(contents, separators=(",", ":"), ensure_ascii=False)
        file.writestr(zipfile.ZipInfo(HEADS, EPOCH), text, zipfile.ZIP_DEFLATED, 9)
        for name in TABLES:
            buffer = io.BytesIO()
            _compact(tables[name]).write_parquet(buffer, compression="zstd", compression_level=19)
            file.writestr(zipfile.ZipInfo(f"{name}.parquet", EPOCH), buffer.getvalue())
        if step_times:
            times = json.dumps(step_times_json(step_times), ensure_ascii=False)
            file.writestr(zipfile.ZipInfo(STEP_TIMES, EPOCH), times, zipfile.ZIP_DEFLATED, 9)
    partial.replace(target)


def add_step_times_to_archive(path: Path, record: StepTimesRecord) -> None:
    """Add measured seconds of a step to an archive; everything else in it stays as it is.

    Args:
        path: The file.
        record: What was measured; it replaces an earlier record of the same configuration.

    Raises:
        RunError: The file is no archive.
    """
    others = [other for other in Archive.read(path).step_times if other.config != record.config]
    partial = path.with_name(f"{path.name}.partial")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(partial, "w") as new:
        for member in old.infolist():
            if member.filename != STEP_TIMES:
                new.writestr(member, old.read(member))
        text = json.dumps(step_times_json([*others, record]), ensure_ascii=False)
        new.writestr(zipfile.ZipInfo(STEP_TIMES, EPOCH), text, zipfile.ZIP_DEFLATED, 9)
    partial.replace(path)


def _shareable_head(head: dict[str, Any]) -> dict[str, Any]:
    environment = {key: value for key, value in head["environment"].items() if key in ENVIRONMENT_KEYS}
    return head | {"environment": environment}


def _compact(frame: pl.DataFrame) -> pl.DataFrame:
    """Convert floats to 32 bits (relative error 6e-8), except metrics and large numbers."""
    floats = [name for name, kind in frame.schema.items() if kind == pl.Float64]
    largest = frame.select(pl.col(name).abs().max() for name in floats)
    small = [n for n in floats if not n.startswith(EXACT) and (largest[n][0] or 0.0) < LARGEST]
    return frame.with_columns(pl.col(name).cast(pl.Float32) for name in small)


def _read_member(path: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as file:
            return file.read(name)
    except (zipfile.BadZipFile, KeyError) as error:
        raise RunError(
            f"loading runs: {path} is neither a directory nor a complete export of runs "
            f"({str(error).strip(chr(34))}); give a file that `fisherscope export` wrote"
        ) from error
