"""Exports, broken or hostile: nothing outside the file is read, bombs are refused, others are shown."""

from __future__ import annotations

import io
import json
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import polars as pl
import pytest
from experiments.fuzz.sample_runs import write_runs

import fisherscope as fs


@pytest.fixture
def export(tmp_path: Path) -> Path:
    write_runs(tmp_path / "runs")
    fs.export_runs(tmp_path / "runs", tmp_path / "e.zip")
    return tmp_path / "e.zip"


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def write(path: Path, contents: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in contents.items():
            file.writestr(name, data)


def renamed(path: Path, name: str) -> str:
    """Rename the first run of an export, in all its members; return the old name."""
    contents = members(path)
    heads = json.loads(contents["runs.json"])
    first = next(iter(heads["runs"]))
    heads["runs"] = {name if old == first else old: head for old, head in heads["runs"].items()}
    contents["runs.json"] = json.dumps(heads).encode()
    for table in ("epochs", "steps", "measures"):
        frame = pl.read_parquet(io.BytesIO(contents[f"{table}.parquet"]))
        buffer = io.BytesIO()
        frame.with_columns(pl.col("run_id").replace({first: name})).write_parquet(buffer)
        contents[f"{table}.parquet"] = buffer.getvalue()
    write(path, contents)
    return str(first)


@pytest.mark.parametrize("way", ["absolute", "up", "up inside", "dot", "empty", "double", "nul"])
def test_a_run_outside_the_file_is_not_read(export: Path, way: str) -> None:
    with fs.open_run(export.parent / "private" / "r1", {"seed": 5}) as run:
        run.log_epoch(val_error=0.123)
        run.log_outcomes(secret=[1.0])
    private = export.parent / "private" / "r1"
    names = {
        "absolute": str(private), "up": "../private/r1", "up inside": "a/../../private/r1", "dot": ".",
        "empty": "", "double": "a//b", "nul": "a\0b",
    }  # fmt: skip
    renamed(export, names[way])
    with pytest.warns(RuntimeWarning, match="expected a name inside the export"):
        runs = fs.load_runs(export)
    assert len(runs) == 3
    assert 0.123 not in runs.epochs["val/error"].to_list()
    with pytest.warns(RuntimeWarning):
        fs.export_runs(export, export.with_name("copy.zip"))
    assert b"0.123" not in members(export.with_name("copy.zip"))["runs.json"]


def test_a_name_with_folders_is_fine(export: Path) -> None:
    renamed(export, "first/second")
    assert len(fs.load_runs(export)) == 4


def bomb(path: Path, kind: str) -> None:
    contents = members(path)
    if kind == "runs.json":
        contents["runs.json"] = b'{"format": 1, "runs": {}, "x": "' + b"0" * (1 << 29) + b'"}'
    elif kind == "member":
        contents["epochs.parquet"] = bytes(200 << 20)
    else:
        buffer = io.BytesIO()
        frame = pl.select(run_id=pl.repeat("x", 20_000_000), epoch=pl.repeat(1, 20_000_000))
        frame.write_parquet(buffer, compression="zstd")
        contents["epochs.parquet"] = buffer.getvalue()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, data in contents.items():
            file.writestr(name, data)


@pytest.mark.parametrize("kind", ["runs.json", "member", "parquet"])
def test_a_bomb_is_refused_within_memory(export: Path, kind: str) -> None:
    made = (
        "from tests.runs.test_archive import bomb; from pathlib import Path; import sys\n"
        "bomb(Path(sys.argv[1]), sys.argv[2])"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", made, str(export), kind], cwd=root, check=True)
    code = (
        "import resource, sys; from fisherscope.cli import main\n"
        "try: main()\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, "runs", str(export)], capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (60, 60)),
    )  # fmt: skip
    assert "expected at most" in ended.stderr or "unpacks to more than" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert int(ended.stderr.split()[-1]) < 1 << 20, "kB"


@pytest.mark.parametrize(
    "flaw", ["encrypted", "unknown compression", "damaged deflate", "no JSON", "a list", "null heads"]
)
def test_a_damaged_zip_is_named(export: Path, flaw: str) -> None:
    if flaw in ("no JSON", "a list", "null heads"):
        text = {"no JSON": b"{", "a list": b"[]", "null heads": b'{"format": 1, "runs": null}'}[flaw]
        write(export, members(export) | {"runs.json": text})
    else:
        data = bytearray(export.read_bytes())
        start, central = data.index(b"PK\x03\x04"), data.index(b"PK\x01\x02")
        if flaw == "encrypted":
            data[start + 6] |= 1
            data[central + 8] |= 1
        elif flaw == "unknown compression":
            data[start + 8], data[central + 10] = 97, 97
        else:
            data[start + 60 : start + 90] = bytes(30)
        export.write_bytes(bytes(data))
    with pytest.raises(fs.runs.RunError, match=str(export)):
        fs.load_runs(export)


def test_one_bad_run_or_table_does_not_hide_the_rest(export: Path) -> None:
    contents = members(export)
    heads = json.loads(contents["runs.json"])
    first, second, *_ = heads["runs"]
    heads["runs"][first] = None
    heads["runs"][second]["config"] = []
    write(export, contents | {"runs.json": json.dumps(heads).encode(), "measures.parquet": b"PAR1"})
    with pytest.warns(RuntimeWarning):
        runs = fs.load_runs(export)
    assert len(runs) == 2
    assert runs.epochs["run_id"].n_unique() == 2
    with pytest.warns(RuntimeWarning):
        assert not len(runs.measures)
    assert len(runs.damaged) == 3
