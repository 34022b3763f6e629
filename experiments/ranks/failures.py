"""Does one rank's failure make another wait? `python -m experiments.ranks.failures --trials 50`.

Each trial draws what fails, on which of two ranks and at which step; the training is compared bit for bit
with one that nobody watches. Results: `experiments/results/rank-failures.json`.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from experiments.ranks.failing_rank import EVERY, STEPS

KINDS = (
    "killed in forward", "raises in forward", "killed in exchange", "out of memory", "error on entering",
    "not a number", "no monitor", "late",
)  # fmt: skip
ENDS = ("killed in forward", "raises in forward", "killed in exchange")
"""Failures of the training itself: both ranks must end, with an error."""
AT_MEASURED = ("killed in exchange", "out of memory", "error on entering", "not a number")
"""Failures that only a measured step meets."""
LIMIT = 60.0
RESULTS = Path(__file__).parents[1] / "results" / "rank-failures.json"


def _end(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Wait for a process; kill it, and return None, when the time is over."""
    try:
        return process.wait(max(seconds, 0.1))
    except subprocess.TimeoutExpired:
        process.kill()
        return None


def run(plan: dict[str, Any]) -> tuple[list[Any], list[int | None], float]:
    """Run both ranks of a plan.

    Returns:
        What each reported (None for nothing), exit codes (None for a hang), and seconds.
    """
    with tempfile.TemporaryDirectory() as folder:
        text = json.dumps({**plan, "folder": folder})
        start = time.perf_counter()
        command = [sys.executable, "-W", "ignore", "-m", "experiments.ranks.failing_rank"]
        ranks = [
            subprocess.Popen(
                [*command, str(rank), text], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            for rank in range(2)
        ]
        codes = [_end(rank, LIMIT - (time.perf_counter() - start)) for rank in ranks]
        files = [Path(folder) / f"{rank}.json" for rank in range(2)]
        reports = [json.loads(file.read_text()) if file.exists() else None for file in files]
        return reports, codes, time.perf_counter() - start


def verdict(plan: dict[str, Any], plain: str) -> str:
    """Run a trial and say how it ended; "right" or what was wrong."""
    reports, codes, _ = run(plan)
    if None in codes:
        return "hang"
    if plan["kind"] in ENDS:
        return "right" if all(codes) else f"ended with {codes}"
    if any(report is None for report in reports):
        return f"training ended with {codes}"
    if plan["kind"] == "not a number":
        rows = reports[0]["rows"]
        return "right" if any(row.startswith("non-finite") for row in rows) else f"rows {rows}"
    if {report["digest"] for report in reports} != {plain}:
        return "parameters differ from an unwatched training"
    if plan["kind"] in ("out of memory", "error on entering"):
        return "right" if all(any(row != "ok" for row in report["rows"]) for report in reports) else "unsaid"
    return "right"


def main() -> None:
    """Run the trials and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    plain: dict[int, str] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for trial in range(arguments.trials):
        kind = KINDS[trial % len(KINDS)]
        step = draw.randrange(STEPS)
        if kind in AT_MEASURED:
            step -= step % EVERY
        plan = {"kind": kind, "rank": draw.randrange(2), "step": step, "seed": draw.randrange(3)}
        if plan["seed"] not in plain:
            reports, _, _ = run({**plan, "kind": "unmonitored"})
            plain[plan["seed"]] = reports[0]["digest"]
        outcome = verdict(plan, plain[plan["seed"]])
        counts[kind, outcome] += 1
        print(f"{trial + 1}/{arguments.trials} {plan}: {outcome}", flush=True)
    table = {kind: {end: n for (k, end), n in sorted(counts.items()) if k == kind} for kind in KINDS}
    RESULTS.write_text(
        json.dumps({"trials": arguments.trials, "seed": arguments.seed, "ends": table}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
