"""What a sweep costs beyond its compute, and what a second process brings: `python benchmarks/sweep.py`.

On a quiet machine. The same runs, in rounds: one after another in one process (their compute), by
`run_sweep` with one job, and with two. Writes benchmarks/results/sweep.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import fisherscope as fs
from fisherscope.sweep import Grid

GRID = {
    "task": "digits/resnet8",
    "batch_sizes": [4, 16, 64],
    "lrs": [0.01, 0.05, 0.2, 0.8],
    "seeds": [0],
    "epochs": 12,
    "per_epoch": 4,
}
"""Of the demo's size: its grid with one seed."""


def alone(root: str, told: Any) -> None:
    """Train every run in this process and say how long that took, imports and first steps left out."""
    from fisherscope.training import train

    configurations = Grid.of(GRID).configurations()
    train(configurations[-1], f"{root}/warm")
    began = time.perf_counter()
    for config in configurations:
        train(config, f"{root}/alone")
    told.send(time.perf_counter() - began)


def seconds_alone(root: str) -> float:
    """Seconds of the runs' compute: a process of its own, one thread."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=alone, args=(root, theirs))
    process.start()
    seconds = float(ours.recv())
    process.join()
    return seconds


def seconds_swept(root: str, jobs: int) -> float:
    """Seconds of the same runs by `run_sweep`, start of processes and bookkeeping included."""
    began = time.perf_counter()
    result = fs.run_sweep(GRID, f"{root}/jobs{jobs}", jobs=jobs)
    assert result.complete, result.ends
    return time.perf_counter() - began


def main() -> None:
    """Run the rounds and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "sweep.json")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    rounds = []
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory() as root:
            one = {"compute_s": seconds_alone(root), "one_job_s": seconds_swept(root, 1)}
            one["two_jobs_s"] = seconds_swept(root, 2)
        one["overhead"] = one["one_job_s"] / one["compute_s"] - 1
        one["throughput_of_two"] = one["one_job_s"] / one["two_jobs_s"]
        rounds.append(one)
        print({name: round(value, 3) for name, value in one.items()}, flush=True)
    import torch

    median = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    found = {
        "command": "python benchmarks/sweep.py",
        "fisherscope": fs.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "runs": len(Grid.of(GRID).configurations()),
        "grid": GRID,
        "median": median,
        "rounds": rounds,
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
