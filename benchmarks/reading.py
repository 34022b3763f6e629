"""How long reading many runs into one frame takes, while some of them are being written.

    python benchmarks/reading.py [--runs 200] [--steps 10000] [--writers 4] [--repeats 3] [--out FILE]

Rows are a real monitor's, their numbers moved a little from row to row; the last `writers` runs are begun with half of
their rows and go on in processes of their own, a thousand rows a second each. Every repeat reads in a new process,
files in the page cache: `fs.load_runs(root)`, then `.steps`.
"""

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

import fisherscope as fs

CONFIG = {"task": "digits/mlp", "batch_size": 32, "lr": 0.05, "epochs": 2, "every": 1, "threads": 1}
ROWS_A_SECOND = 1000

READ = """
import json, sys, time
import fisherscope as fs
import polars
began = time.perf_counter(), time.process_time()
runs = fs.load_runs(sys.argv[1])
heads = time.perf_counter() - began[0]
steps = runs.steps
seconds, processor = time.perf_counter() - began[0], time.process_time() - began[1]
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
states = runs.runs["status"].value_counts().rows()
print(json.dumps({
    "seconds": seconds, "of_it_heads_s": heads, "processor_s": processor, "peak_bytes": 1024 * int(peak),
    "frame_bytes": steps.estimated_size(), "rows": len(steps), "columns": len(steps.columns),
    "states": dict(states), "damaged": len(runs.damaged),
}))
"""


def real_rows(root: Path) -> list[dict[str, Any]]:
    """The measured steps of a short run, as they are stored."""
    from fisherscope.training import train

    path = train(CONFIG, root / "real").path
    return [json.loads(line) for line in (path / "steps.jsonl").read_text().splitlines()]


def varied(rows: list[dict[str, Any]], step: int) -> tuple[dict[str, Any], list[float]]:
    """A row for this step, and a spectrum of its length."""
    row, by = dict(rows[step % len(rows)]), 1 + random.random() / 8
    length = row.pop("spectrum_length", 32)
    row.pop("spectrum_offset", None)
    moved = {key: value * by if isinstance(value, float) else value for key, value in row.items()}
    return moved | {"step": step}, [by] * length


def write(
    path: Path, rows: list[dict[str, Any]], steps: int, rate: float | None = None, first: int = 0
) -> None:
    """Write a run of so many steps; at so many a second, else as fast as it goes."""
    with fs.open_run(path, CONFIG | {"seed": path.name}) as run:
        if first:
            run.rewind(first)
        for step in range(first, steps):
            run.log_step(*varied(rows, step))
            if rate is not None:
                time.sleep(1 / rate)


def made(root: Path, runs: int, steps: int, writers: int, rows: list[dict[str, Any]]) -> None:
    """Finished runs, all copies of one, and some that have half of their rows."""
    for kind, length in (("whole", steps), ("half", steps // 2)):
        write(root / kind / "run", rows, length)
    for number in range(runs):
        kind, path = "whole" if number < runs - writers else "half", root / "runs" / f"run{number}"
        shutil.copytree(root / kind / "run", path)
        head = json.loads((path / "run.json").read_text())
        head |= {"id": path.name, "config": head["config"] | {"seed": path.name}}
        (path / "run.json").write_text(json.dumps(head))
        if kind == "half":
            (path / "run.json").write_text(json.dumps(head | {"status": "interrupted"}))


@contextmanager
def writing(root: Path, runs: int, writers: int, steps: int, rows: Path) -> Iterator[None]:
    """The half runs go on while the block lasts."""
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import reading\n"
        "rows = json.loads(Path(sys.argv[3]).read_text())\n"
        "reading.write(Path(sys.argv[2]), rows, 10**9, reading.ROWS_A_SECOND, int(sys.argv[4]))"
    )
    here = str(Path(__file__).parent)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, here, str(root / f"run{number}"), str(rows), str(steps // 2)]
        )
        for number in range(runs - writers, runs)
    ]
    try:
        time.sleep(3)  # until they write
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> None:
    """Make the runs, read them, print and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--steps", type=int, default=10_000, help="measured steps a run")
    parser.add_argument("--writers", type=int, default=4, help="of the runs are being written")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "reading.json")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        rows = real_rows(root)
        (root / "rows.json").write_text(json.dumps(rows))
        made(root, told.runs, told.steps, told.writers, rows)
        size = sum(path.stat().st_size for path in (root / "runs").glob("*/steps.jsonl"))
        with writing(root / "runs", told.runs, told.writers, told.steps, root / "rows.json"):
            read = [
                json.loads(
                    subprocess.run(
                        [sys.executable, "-c", READ, str(root / "runs")],
                        capture_output=True,
                        text=True,
                        check=True,
                    ).stdout
                )
                for _ in range(told.repeats)
            ]
    found = {
        "command": "python benchmarks/reading.py",
        "fisherscope": fs.__version__,
        "polars": pl.__version__,
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "runs": told.runs,
        "steps_a_run": told.steps,
        "being_written": told.writers,
        "bytes_of_steps": size,
        "median_seconds": statistics.median(one["seconds"] for one in read),
        "reads": read,
    }
    text = json.dumps(found, indent=1)
    print(text)
    told.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
