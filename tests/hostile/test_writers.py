"""Every writer that replaces a file: on a full disk or killed, the old file stays whole, and is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from experiments.fuzz.sample_runs import write_runs

import fisherscope as fs
from fisherscope.runs.atomic_io import TEMPORARY

VERBS = {
    "report.html": ["report", "runs", "-o", "report.html"],
    "beacons.json": ["beacons", "runs", "--seconds", "seconds.json", "--out", "beacons.json"],
    "figure.png": ["figure", "2", "runs", "-o", "figure.png"],
    "answer.json": ["select", "runs", "-o", "answer.json"],
    "export.zip": ["export", "runs", "export.zip"],
}
CALLS = {
    "run.json": "fs.open_run('own/a', {'x': 'y' * 3000}, restart=True)",
    "outcomes.npz": "fs.open_run('own/b', {'seed': 0}).log_outcomes(x=np.random.random(3000))",
    "checkpoint.pt": "fs.open_run('own/c', {'seed': 0}).save_checkpoint({'x': torch.ones(3000)})",
    "measured.csv": "fs.integrations.CsvTracker('measured.csv')({'a' * 3000: 1})",
    "state.json": "fs.runs.replace_text('state.json', 'x' * 5000)",
}
"""The last stands for `demo`, `bench` and a Trainer's checkpoint, which call the same function."""
WRITERS = {name: f"sys.argv[1:] = {words}; main()" for name, words in VERBS.items()} | CALLS
OWN = {"run.json": "own/a", "outcomes.npz": "own/b", "checkpoint.pt": "own/c"}
SCRIPT = """
import os, resource, signal, sys, traceback
import numpy as np, torch
import fisherscope as fs
from fisherscope.cli import main
from fisherscope.runs.atomic_io import TEMPORARY

how, writers = sys.argv[1], eval(sys.argv[2])
flush = os.fsync

def killed(name):  # at the first flush: bytes are written, the old file is not replaced yet
    def fsync(file):
        path = os.path.basename(os.readlink(f"/proc/self/fd/{file}"))
        if path.startswith(f".{name}.") and path.endswith(TEMPORARY):
            os.kill(os.getpid(), signal.SIGKILL)
        flush(file)
    os.fsync = fsync

for name, code in writers.items():
    print(f"=== {name}", file=sys.stderr, flush=True)
    child = os.fork()
    if not child:
        if how == "killed":
            killed(name)
        else:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (800, resource.RLIM_INFINITY))
        try:
            exec(code)
        except BaseException as error:
            code = error.code if isinstance(error, SystemExit) else traceback.print_exc() or 1
        else:
            code = 0
        sys.stderr.flush()
        os._exit(code or 0)
    print(name, os.waitpid(child, 0)[1])
"""
OLD = b"the old file, whole\n" * 30


def write_old_files(root: Path) -> dict[str, Path]:
    """Write runs, and in the place of each writer's file an old one, of which nothing may change."""
    write_runs(root / "runs")
    (root / "seconds.json").write_text('{"8": 0.1, "32": 0.2}')
    for place in OWN.values():
        with fs.open_run(root / place, {"seed": 0}) as run:
            run.log_outcomes(x=[1])
            run.save_checkpoint({"x": 1})
    paths = {name: root / OWN.get(name, ".") / name for name in WRITERS}
    for name in (*VERBS, "state.json"):
        paths[name].write_bytes(OLD)
    paths["measured.csv"].write_bytes(b"")  # an existing table is appended to; an empty file is replaced
    return paths


@pytest.mark.parametrize("how", ["full", "killed"])
def test_the_old_file_stays_whole(tmp_path: Path, how: str) -> None:
    paths = write_old_files(tmp_path)
    before = {name: path.read_bytes() for name, path in paths.items()}
    command = [sys.executable, "-c", SCRIPT, how, repr(WRITERS)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    said = dict(text.split("\n", 1) for text in ended.stderr.split("=== ")[1:])
    statuses = {name: int(status) for name, status in (line.split() for line in ended.stdout.splitlines())}
    assert statuses.keys() == WRITERS.keys()
    for name, path in paths.items():
        assert path.read_bytes() == before[name], f"{name} was changed; {said[name]}"
        left = list(path.parent.glob(f".{name}.*{TEMPORARY}"))
        if how == "full":
            assert statuses[name] != 0
            assert f"writing {name} in" in said[name], "the error names the file"
            assert "what was there before is intact" in said[name]
            assert not left
        else:
            assert statuses[name] == 9, f"{name} was not killed while it wrote; {said[name]}"
            assert len(left) == 1
            fs.runs.replace_text(path, "new")
            assert not list(path.parent.glob(f".{name}.*{TEMPORARY}")), (
                "the next writer removes what was left"
            )


def test_writers_of_one_file_at_once_leave_one_of_them_whole(tmp_path: Path) -> None:
    code = "import fisherscope as fs\nfor k in range(30): fs.runs.replace_text('x.json', str([{0}] * 3000))"
    writers = [subprocess.Popen([sys.executable, "-c", code.format(k)], cwd=tmp_path) for k in range(3)]
    while any(writer.poll() is None for writer in writers):
        if (tmp_path / "x.json").exists():
            assert len(set(json.loads((tmp_path / "x.json").read_text()))) == 1
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert os.listdir(tmp_path) == ["x.json"]


def test_what_is_no_ordinary_file_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    fs.runs.replace_text("/dev/null", "gone")
    assert Path("/dev/null").is_char_device()
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    fs.runs.replace_text(tmp_path / "link", "new")
    assert (tmp_path / "target").read_text() == "new"
    assert (tmp_path / "link").is_symlink()
    (tmp_path / "directory").mkdir()
    with pytest.raises(fs.runs.RunError, match=r"directory in .*; what was there before is intact"):
        fs.runs.replace_text(tmp_path / "directory", "x")
