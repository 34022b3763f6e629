"""BeaconPolicy with and without rates beside its sizes, on a task that is none of its four.

    python -m experiments.dynamic.rates --out runs/beacon-rates --data DIR

Written before its runs: mnist/mlp with 1 000 images and 20 epochs; beacons of three sizes and three rates,
seeds 0 and 1; reference: the fixed size at the rate 0.05, and at any of the three, of least validation error
on these seeds; seeds 10 to 14 judge test error by the margins of experiments/PREREGISTERED-dynamic.md. Time:
that of an accelerator, modelled: 1 + B/64 a step. Exploratory: one task, one rate.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import polars as pl
from experiments.dynamic.comparison import environment
from scipy.stats import t as student

from fisherscope.analysis import beacons_of, settings_of
from fisherscope.analysis.data.run_measures import at_epoch
from fisherscope.policy import Beacons, read_beacons
from fisherscope.policy.beacon.region import region_of
from fisherscope.runs import Runs, load_runs
from fisherscope.sweep import run_sweep

TASK, SIZES, RATES, RATE = "mnist/mlp", (32, 64, 128), (0.025, 0.05, 0.1), 0.05
MULTIPLIERS = (0.5, 1.0, 2.0)
SETTINGS = {"task": TASK, "limit_train": 1000, "limit_test": 2000, "epochs": 20, "per_epoch": 3, "threads": 1}
CHOOSE, JUDGE = (0, 1), (10, 11, 12, 13, 14)
AXIS = "effective_rank_mean"
RESULT = Path(__file__).parents[1] / "results" / "beacon-rates.json"
MOVE = re.compile(r"rate [\d.e-]+ to [\d.e-]+ \(from ([\d.]+) to ([\d.]+) of its schedule\)")


def main() -> None:
    """Train what is missing, choose, judge, and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=None, help="where the data files lie")
    args = parser.parse_args()
    fixed = args.out / "fixed"
    _sweep(fixed, args.data, batch_sizes=list(SIZES), lrs=list(RATES), seeds=list(CHOOSE))
    chosen = choice(load_runs(fixed))
    for policy, lr in dict.fromkeys(chosen.values()):
        _sweep(fixed, args.data, policies=[policy], lrs=[lr], seeds=list(JUDGE))
    arms = {name: _arm(load_runs(fixed), policy, lr) for name, (policy, lr) in chosen.items()}
    cost = {size: 1 + size / 64 for size in SIZES}
    for name, rates in (("beacon, sizes", (1.0,)), ("beacon, sizes and rates", MULTIPLIERS)):
        root = args.out / name.replace(", ", "-").replace(" ", "-")
        file = root / "beacons.json"
        if not file.exists():
            root.mkdir(parents=True, exist_ok=True)
            whole = load_runs(fixed).filter(pl.col("seed").is_in(CHOOSE))
            file.write_text(beacons_of(whole, cost, axis=AXIS, rates=rates).to_json(), encoding="utf-8")
        _sweep(root / "runs", args.data, policies=[f"beacon:{file}"], lrs=[RATE], seeds=list(JUDGE))
        arms[name] = load_runs(root / "runs")
    region = read_beacons(file)
    rows = {
        name: [_row(runs, run_id, region) for run_id in sorted(runs.paths)] for name, runs in arms.items()
    }
    result = {
        "what": "BeaconPolicy with rates beside sizes; exploratory",
        "command": "python -m experiments.dynamic.rates --out DIR --data DIR",
        "environment": environment(arms[name]),
        "chosen": chosen, "cost": "1 + B/64 a step", "axis": AXIS,
        "summary": [summary(name, rows[name], rows["fixed, at 0.05"]) for name in rows],
        "runs": rows,
    }  # fmt: skip
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(result["summary"], indent=1) + "\n")


def choice(runs: Runs) -> dict[str, tuple[str, float]]:
    """Choose the fixed settings of least mean validation error, on the seeds that choose."""
    frame = settings_of(runs).where(pl.col("seed").is_in(CHOOSE), pl.col("status") == "finished").frame
    values = frame.join(at_epoch(settings_of(runs), "val/error"), on="run_id")
    means = values.group_by("policy", "lr").agg(pl.col("value").mean()).sort("value", "policy", "lr")
    best, same = means.row(0, named=True), means.filter((pl.col("lr") - RATE).abs() < 1e-9).row(0, named=True)
    return {
        "fixed, at 0.05": (same["policy"], same["lr"]),
        "fixed, at any rate": (best["policy"], best["lr"]),
    }


def summary(name: str, rows: list[dict[str, Any]], reference: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare an arm with the reference, seed by seed: bound of the difference, ratio of times."""
    tests = [row["test"] for row in rows]
    base = {row["seed"]: row for row in reference}
    differences = [row["test"] - base[row["seed"]]["test"] for row in rows]
    margin = max(0.002, 0.1 * mean(row["test"] for row in reference))
    reach = student.ppf(0.95, len(differences) - 1) * stdev(differences) / math.sqrt(len(differences))
    return {
        "arm": name, "n": len(rows), "test": mean(tests), "test_std": stdev(tests), "margin": margin,
        "difference": mean(differences), "paired_upper": mean(differences) + reach,
        "time_ratio": mean(row["time"] for row in rows) / mean(row["time"] for row in reference),
        "inside": sum(row["inside"] for row in rows),
        "changes_of_rate": sum(len(row["rates"]) for row in rows),
    }  # fmt: skip


def _row(runs: Runs, run_id: str, beacons: Beacons) -> dict[str, Any]:
    epochs = runs.epochs.filter(pl.col("run_id") == run_id).sort("epoch")
    last = epochs.row(-1, named=True)
    steps = epochs["step"].diff().fill_null(epochs["step"][0]).to_list()
    time = sum(
        count * (1 + size / 64) for count, size in zip(steps, epochs["batch_size"].to_list(), strict=True)
    )
    rank = dict(at_epoch(settings_of(runs), AXIS).iter_rows())[run_id]
    texts = epochs["policy/decisions"].to_list()
    rates = [
        [epoch, float(after)]
        for epoch, text in zip(epochs["epoch"].to_list(), texts, strict=True)
        for _, after in MOVE.findall(text or "")
    ]
    seed = runs.runs.filter(pl.col("run_id") == run_id)["seed"][0]
    inside = region_of(beacons.region).contains(math.log(rank), math.log(last["fisher/energy_sum"]))
    return {
        "seed": seed, "test": last["test/error"], "val": last["val/error"], "time": time, "rank": rank,
        "energy": last["fisher/energy_sum"], "inside": inside, "rates": rates,
    }  # fmt: skip


def _arm(runs: Runs, policy: str, lr: float) -> Runs:
    same = (pl.col("lr") - lr).abs() < 1e-9
    return runs.filter(pl.col("policy") == policy, same, pl.col("seed").is_in(JUDGE))


def _sweep(root: Path, data: Path | None, **grid: Any) -> None:
    run_sweep({**SETTINGS, **grid}, root, jobs=1, data_dir=data)


if __name__ == "__main__":
    main()
