"""Fuzz the verbs: python -m experiments.fuzz --inputs 10000 --lines 2000.

Writes experiments/results/fuzz.json: how many inputs of each kind, and what went wrong. It goes in parts,
each in a process of its own; parts that `runs/fuzz` has are not done again: an interrupted campaign goes on.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from experiments.fuzz.campaign import Tally, Workplace, run_command_lines, run_inputs

import fisherscope as fs

RESULT = Path(__file__).parents[1] / "results" / "fuzz.json"
PART = 500
"""Inputs or command lines of one process."""


def run_part(kind: str, seed: int, first: int, count: int) -> dict[str, Any]:
    """Give some inputs, or command lines, to the verbs; return what happened."""
    tally, began = Tally(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        place = Workplace(Path(folder))
        run = run_inputs if kind == "inputs" else run_command_lines
        run(place, seed, range(first, first + count), tally)
    return {**vars(tally), "seconds": time.monotonic() - began}


def run_parts(seed: int, counts: dict[str, int], folder: Path) -> list[dict[str, Any]]:
    """Run the parts that the folder lacks; return what happened in each."""
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    for kind, total in counts.items():
        for first in range(0, total, PART):
            count = min(PART, total - first)
            name = f"{kind}-{seed}-{first}-{count}"
            path = folder / f"{name}.json"
            if not path.exists():
                command = [sys.executable, "-m", "experiments.fuzz", "--part", name, "-o", str(path)]
                subprocess.run(command, check=True)
                part = json.loads(path.read_text())
                print(f"{name}: {len(part['problems'])} problems, {part['peak']} MiB", flush=True)
            results.append(json.loads(path.read_text()))
    return results


def sum_up(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Add up what happened in all parts."""
    kinds = sum((Counter(part["cases"]) for part in parts), Counter[str]())
    problems = [problem for part in parts for problem in part["problems"]]
    slowest = max(parts, key=lambda part: part["longest"])
    return {
        "calls": sum(part["calls"] for part in parts),
        "kinds": dict(sorted(kinds.items())),
        "problems": problems[:500],
        "problem_count": len(problems),
        "slowest_call_seconds": round(slowest["longest"], 2),
        "slowest_call": slowest["slowest"],
        "peak_mib": max(part["peak"] for part in parts),
        "largest_growth_mib": max(part["growth"] for part in parts),
        "largest_call": max(parts, key=lambda part: part["growth"])["largest"],
        "seconds": round(sum(part["seconds"] for part in parts)),
    }


def main() -> None:
    """Draw, call, count, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--lines", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/fuzz"), help="Of the finished parts.")
    parser.add_argument("--part", help="One part, such as inputs-0-500-500: kind, seed, first, count.")
    parser.add_argument("-o", "--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if options.part:
        kind, *numbers = options.part.split("-")
        options.out.write_text(json.dumps(run_part(kind, *map(int, numbers))))
        return
    result = {
        "command": f"python -m experiments.fuzz --inputs {options.inputs} --lines {options.lines} "
        f"--seed {options.seed}",
        "fisherscope": fs.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "inputs": options.inputs,
        "command_lines": options.lines,
        **sum_up(run_parts(options.seed, {"inputs": options.inputs, "lines": options.lines}, options.folder)),
    }
    options.out.write_text(json.dumps(result, indent=1, ensure_ascii=True) + "\n")
    print(f"{result['calls']} calls, {result['problem_count']} problems, {result['peak_mib']} MiB")
    sys.exit(bool(result["problem_count"]))


if __name__ == "__main__":
    main()
