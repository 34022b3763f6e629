"""Fuzz the verbs: python -m experiments.fuzz --inputs 10000 --lines 2000.

Writes experiments/results/fuzz.json: how many inputs of each kind, and what went wrong.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

from experiments.fuzz.campaign import Tally, Workplace, run_command_lines, run_inputs

import fisherscope as fs

RESULT = Path(__file__).parents[1] / "results" / "fuzz.json"


def main() -> None:
    """Draw, call, count, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--lines", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, default=RESULT)
    options = parser.parse_args()
    tally, began = Tally(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        place = Workplace(Path(folder))
        run_inputs(place, options.seed, options.inputs, tally)
        run_command_lines(place, options.seed, options.lines, tally)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = {
        "command": f"python -m experiments.fuzz --inputs {options.inputs} --lines {options.lines} "
        f"--seed {options.seed}",
        "fisherscope": fs.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "inputs": options.inputs,
        "command_lines": options.lines,
        "calls": tally.calls,
        "kinds": dict(sorted(tally.cases.items())),
        "problems": tally.problems[:500],
        "problem_count": len(tally.problems),
        "slowest_call_seconds": round(tally.longest, 2),
        "slowest_call": tally.slowest,
        "peak_mib": round(peak),
        "seconds": round(time.monotonic() - began),
    }
    options.out.write_text(json.dumps(result, indent=1, ensure_ascii=True) + "\n")
    print(f"{tally.calls} calls, {len(tally.problems)} problems, {peak:.0f} MiB, {result['seconds']} s")
    sys.exit(bool(tally.problems))


if __name__ == "__main__":
    main()
