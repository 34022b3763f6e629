"""Runs in one small file: heads and tables, no spectra, no checkpoints; `load_runs` reads it back.

A zip of `runs.json` (format, heads by run id) and one Parquet file a table: `epochs`, `steps`, `measures`.
Equal runs give equal bytes.
"""

import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from fisherscope.runs.errors import RunError

FORMAT = 1
HEADS = "runs.json"
TABLES = ("epochs", "steps", "measures")
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The zip's time stamp of every part: the earliest that it can have."""

TOLD = ("fisherscope", "python", "torch", "numpy", "machine", "cpus", "device")
"""What is kept of the environment: versions and the kind of machine, no command lines and no paths."""

EXACT = ("train/", "val/", "test/")
"""Columns of metrics, which stay as they are: ties must stay ties. Other floats are 32 bits."""

LARGEST = 1e38
"""Beyond it a number does not fit into 32 bits."""


class Archive:
    """An exported file, its tables read when first asked for.

    Args:
        path: The file.
        heads: run.json of each run, by run id.
    """

    def __init__(self, path: Path, heads: dict[str, dict[str, Any]]) -> None:
        self.path, self.heads = path, heads
        self._tables: dict[str, pl.DataFrame] = {}

    @classmethod
    def read(cls, path: Path) -> "Archive":
        """The archive at a path.

        Raises:
            RunError: It is no such file, is damaged, or is of another format.
        """
        told = json.loads(_part(path, HEADS))
        if told.get("format") != FORMAT:
            raise RunError(
                f"loading runs: {path} has format {told.get('format')!r}, this version of fisherscope reads "
                f"{FORMAT}; use the version that wrote it"
            )
        return cls(path, told["runs"])

    def table(self, name: str) -> pl.DataFrame:
        """One of `TABLES`; floats in 64 bits."""
        if name not in self._tables:
            frame = pl.read_parquet(io.BytesIO(_part(self.path, f"{name}.parquet")))
            self._tables[name] = frame.with_columns(pl.col(pl.Float32).cast(pl.Float64))
        return self._tables[name]


def write(
    path: str | os.PathLike[str], heads: Mapping[str, dict[str, Any]], tables: Mapping[str, pl.DataFrame]
) -> None:
    """Write an archive; an existing file is replaced when the new one is whole.

    Args:
        path: The file.
        heads: run.json of each run, by run id.
        tables: By their names.
    """
    told = {"format": FORMAT, "runs": {run_id: _shareable(head) for run_id, head in heads.items()}}
    target = Path(path)
    partial = target.with_name(f"{target.name}.partial")
    with zipfile.ZipFile(partial, "w") as file:
        text = json.dumps(told, separators=(",", ":"), ensure_ascii=False)
        file.writestr(zipfile.ZipInfo(HEADS, EPOCH), text, zipfile.ZIP_DEFLATED, 9)
        for name in TABLES:
            buffer = io.BytesIO()
            _compact(tables[name]).write_parquet(buffer, compression="zstd", compression_level=19)
            file.writestr(zipfile.ZipInfo(f"{name}.parquet", EPOCH), buffer.getvalue())
    partial.replace(target)


def _shareable(head: dict[str, Any]) -> dict[str, Any]:
    environment = {key: value for key, value in head["environment"].items() if key in TOLD}
    return head | {"environment": environment}


def _compact(frame: pl.DataFrame) -> pl.DataFrame:
    """Floats in 32 bits, whose relative error is 6e-8, except metrics and what would not fit."""
    floats = [name for name, kind in frame.schema.items() if kind == pl.Float64]
    largest = frame.select(pl.col(name).abs().max() for name in floats)
    small = [n for n in floats if not n.startswith(EXACT) and (largest[n][0] or 0.0) < LARGEST]
    return frame.with_columns(pl.col(name).cast(pl.Float32) for name in small)


def _part(path: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as file:
            return file.read(name)
    except (zipfile.BadZipFile, KeyError) as error:
        raise RunError(
            f"loading runs: {path} is neither a directory nor a whole export of runs "
            f"({str(error).strip(chr(34))}); give what `fisherscope export` wrote"
        ) from error
