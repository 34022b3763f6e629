"""Where runs were said to end in the (C̄, L) plane, against where they ended."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from statistics import median
from typing import Any

import polars as pl
from experiments.dynamic.designs import Design

from fisherscope.policy import Beacons, Observation, Policy, parse
from fisherscope.policy.beacon.forecast import RunSoFar, build_forecaster
from fisherscope.policy.beacon.growth import growth_at
from fisherscope.policy.beacon.region import region_of
from fisherscope.runs import Runs

SENTENCE = re.compile(r"geomean ([\d.e+]+) ± \d+ %, L ([\d.e+-]+) ±")
OPEN_LOOP = ("staged -∅", "staged -MS", "growth")
NINETY = 1.645
"""Deviations on both sides of the mean that hold 90 % of a normal distribution."""


def predictions_at_the_start(beacons: Beacons, table: pl.DataFrame) -> dict[str, Any]:
    """Compare the ends of open-loop schedules, as forecast from the beacons alone, with those reached."""
    misses, inside = [], []
    for row in table.filter(~pl.col("diverged")).iter_rows(named=True):
        if row["family"] not in OPEN_LOOP or row["cond"] is None:
            continue
        policy = parse(row["policy"], lr=row["lr"], epochs=beacons.epochs)
        try:
            ahead = build_forecaster(beacons, growth_at(beacons, row["lr"]), policy.rate)
        except ValueError:
            continue  # no beacons on both sides of this rate
        spread = beacons.cond_spread.run, beacons.energy_spread.run
        plan = _plan(policy, beacons, ahead.growth.sizes)
        end = ahead.end(RunSoFar(0, 0, 0.0, 0.0, 0.0, (0.0, 0.0), spread), 0, 0, plan)
        miss = math.log(row["cond"]) - end.cond, math.log(row["energy"]) - end.energy
        misses.append(miss)
        inside.append((abs(miss[0]) <= NINETY * end.cond_std, abs(miss[1]) <= NINETY * end.energy_std))
    if not misses:
        return {"runs": 0}
    places = [(math.log(p.cond), math.log(p.energy)) for p in beacons.region]
    reach = [max(p[k] for p in places) - min(p[k] for p in places) for k in (0, 1)]
    errors = _errors(misses)
    return {
        "what": "ends of staged and growing runs as forecast at the start, from the selection seeds' beacons",
        **errors,
        "share_of_range": {k: errors["rms_log"][k] / reach[i] for i, k in enumerate("CL")},
        "covered_by_90": {k: sum(i[n] for i in inside) / len(inside) for n, k in enumerate("CL")},
    }


def predictions_by_the_policy(runs: Runs, table: pl.DataFrame) -> dict[str, Any]:
    """Compare what BeaconPolicy predicted at the start, and last before half of the run, with the end."""
    by_moment: dict[str, list[tuple[float, float]]] = {"at the start": [], "before half of the run": []}
    for row in table.filter(pl.col("family") == "beacon", ~pl.col("diverged")).iter_rows(named=True):
        epochs = runs.epochs.filter(pl.col("run_id") == row["run_id"]).sort("epoch")
        half = epochs.filter(pl.col("epoch") <= pl.col("epoch").max() / 2)
        forecasts = SENTENCE.findall(" ".join(t for t in half["policy/decisions"].to_list() if t))
        for moment, (cond, energy) in zip(by_moment, (forecasts[0], forecasts[-1]), strict=True):
            by_moment[moment].append(
                (math.log(row["cond"] / float(cond)), math.log(row["energy"] / float(energy)))
            )
    return {moment: _errors(misses) for moment, misses in by_moment.items() if misses}


def _errors(misses: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Of logarithms: root mean square, median and bias, of C̄ and of L."""
    count = len(misses)
    return {
        "runs": count,
        "rms_log": {k: math.sqrt(sum(m[i] ** 2 for m in misses) / count) for i, k in enumerate("CL")},
        "median_log": {k: median(abs(m[i]) for m in misses) for i, k in enumerate("CL")},
        "bias_log": {k: sum(m[i] for m in misses) / count for i, k in enumerate("CL")},
    }


def _plan(policy: Policy, beacons: Beacons, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the number of the nearest size in the middle of each part."""
    state, plan = policy.init(), []
    total = beacons.epochs * beacons.samples
    for part in range(beacons.parts):
        at = (2 * part + 1) * total // (2 * beacons.parts)
        seen = Observation(at // beacons.samples, at % beacons.samples, beacons.samples)
        state, decision = policy.update(state, seen)
        plan.append(min(range(len(sizes)), key=lambda k: abs(math.log(sizes[k] / decision.batch_size))))
    return tuple(plan)


def arrivals(table: pl.DataFrame, beacons: Beacons, design: Design) -> list[dict[str, Any]]:
    """Share of each family's runs, at the policies' rates, that end inside the region."""
    region, rows = region_of(beacons.region), []
    for (family,), part in table.filter(pl.col("lr").is_in(design.rates)).group_by(
        "family", maintain_order=True
    ):
        ends = part.filter(~pl.col("diverged")).select("cond", "energy").drop_nulls().rows()
        inside = sum(region.contains(math.log(c), math.log(e)) for c, e in ends)
        rows.append({"family": family, "runs": len(part), "inside": inside, "share": inside / len(part)})
    return rows
