"""BeaconPolicy by the effective rank in place of c. Exploratory: looked at after the comparison was read.

    python -m experiments.dynamic.beacon_axis mnist/mlp --fixed runs/mnist-mlp --out runs/beacon-axis

Everything else is that of experiments/PREREGISTERED-dynamic.md for the task: beacons, rates, seeds, cost
model. The fixed runs are whole directories (`make study-mnist`, or those of experiments.dynamic): the
sweeps in results/sweeps were exported without the effective rank of each step.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import polars as pl
from experiments.dynamic.comparison import environment
from experiments.dynamic.designs import DESIGNS, Design
from experiments.dynamic.tables import table_of

from fisherscope.analysis import beacons_of, settings_of
from fisherscope.analysis.data.run_measures import at_epoch
from fisherscope.policy import Beacons, read_beacons
from fisherscope.policy.beacon.region import region_of
from fisherscope.runs import Runs, load_runs
from fisherscope.sweep import run_sweep

AXIS = "effective_rank_mean"
WHAT = (
    "where BeaconPolicy by effective rank and L said that runs would end, and where they ended; exploratory"
)
RESULTS = Path(__file__).parents[1] / "results"
RESULT = RESULTS / "beacon-axis.json"
SENTENCE = re.compile(rf"{AXIS} ([\d.e+]+) ± \d+ %, L ([\d.e+-]+) ±")


def main() -> None:
    """Make the beacons, train five seeds by them, write where each was said to end and ended."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=DESIGNS)
    parser.add_argument("--fixed", type=Path, required=True, help="whole runs of the fixed sizes")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=None, help="where the data files lie")
    args = parser.parse_args()
    design, root = DESIGNS[args.task], args.out / args.task.replace("/", "-")
    plain = json.loads((RESULTS / f"dynamic-{args.task.replace('/', '-')}.json").read_text())
    cost = plain["cost_model"]
    file = root / "beacons.json"
    if not file.exists():
        root.mkdir(parents=True, exist_ok=True)
        fixed = load_runs(args.fixed).filter(pl.col("seed").is_in(design.seeds))
        seconds = {int(size): value for size, value in cost["seconds"].items()}
        beacons = beacons_of(fixed, seconds, axis=AXIS, task=args.task, sizes=design.sizes)
        file.write_text(beacons.to_json(), encoding="utf-8")
    grid = {"policies": [f"beacon:{file}"], "lrs": list(design.rates), "seeds": list(design.confirm)}
    run_sweep({"task": args.task, **design.settings, **grid}, root / "runs", jobs=1, data_dir=args.data)
    rows = ends(load_runs(root / "runs"), read_beacons(file), cost, design)
    results = json.loads(RESULT.read_text()) if RESULT.exists() else {"what": WHAT, "axis": AXIS, "tasks": {}}
    results["tasks"][args.task] = {
        "command": f"python -m experiments.dynamic.beacon_axis {args.task} --fixed RUNS --out DIR",
        "environment": environment(load_runs(root / "runs")),
        "against_c": plain["prediction_of_beacon_runs"],
        "errors": errors(rows), "inside": sum(row["inside"] for row in rows), "rows": rows,
    }  # fmt: skip
    RESULT.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(results["tasks"][args.task], indent=1) + "\n")


def ends(runs: Runs, beacons: Beacons, cost: dict[str, Any], design: Design) -> list[dict[str, Any]]:
    """Return a row a run: error, modelled time, the place predicted (first; last before half) and reached."""
    region = region_of(beacons.region)
    across = dict(at_epoch(settings_of(runs), AXIS).iter_rows())
    rows = []
    for row in table_of(runs, cost, design).sort("lr", "seed").iter_rows(named=True):
        reached = across[row["run_id"]], row["energy"]
        epochs = runs.epochs.filter(pl.col("run_id") == row["run_id"]).sort("epoch")
        half = epochs.filter(pl.col("epoch") <= pl.col("epoch").max() / 2)
        forecasts = SENTENCE.findall(" ".join(t for t in half["policy/decisions"].to_list() if t))
        rows.append({
            "lr": row["lr"], "seed": row["seed"], "test": row["test"], "seconds": row["seconds"],
            "final_size": row["final_size"], "reached": reached,
            "at_the_start": [float(v) for v in forecasts[0]],
            "before_half": [float(v) for v in forecasts[-1]],
            "inside": region.contains(*map(math.log, reached)),
        })  # fmt: skip
    return rows


def errors(rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Root mean square of log(reached / predicted), of the rank and of L."""
    return {
        moment: [
            math.sqrt(sum(math.log(row["reached"][k] / row[moment][k]) ** 2 for row in rows) / len(rows))
            for k in (0, 1)
        ]
        for moment in ("at_the_start", "before_half")
    }


if __name__ == "__main__":
    main()
