"""The comparison of dynamic sampling, by the design in PREREGISTERED-dynamic.md, in one command.

    python experiments/dynamic.py digits/mlp --out runs/dynamic

Trains what is missing (started again it goes on), then writes experiments/results/dynamic-TASK.json.
With --only-read it trains nothing and reports what is there.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl

from fisherscope.analysis import beacons_of, settings_of
from fisherscope.analysis.plane import margin
from fisherscope.analysis.statistics import Sample, welch
from fisherscope.policy import Beacons, Observation, Policy, parse, read_beacons
from fisherscope.policy.forecast import Standing, growth_at, region_of, road
from fisherscope.runs import Runs, load_runs
from fisherscope.sweep import run_sweep, seconds_a_step

RESULTS = Path(__file__).parent / "results"
SIZES = [4, 8, 16, 32, 64, 128]
STAGED = ["s8-to-32", "s8-to-128", "s4-to-64", "s16-to-64", "s32-to-128", "s128-to-8"]
FAMILIES = {
    "staged -∅": STAGED,
    "staged -MS": [f"{name}-MS" for name in STAGED[:-1]],
    "growth": ["s8-growth+bounds:max=128"],
    "increase": ["s8-increase:share=0.427"],
    "norm test": ["s8-norm-test+bounds:max=128"],
    "inner product": ["s8-inner-product+bounds:max=128"],
    "Big Batch": ["s8-big-batch+bounds:max=128"],
    "CABS": ["s16-cabs+constant+bounds:max=128"],
    "noise scale": ["s8-noise-scale+bounds:max=128"],
    "diversity": ["s8-diversity+bounds:max=128"],
    "staged, coupled": ["s8-to-128+sqrt", "s8-to-128+linear", "s8-to-128+adascale"],
    "norm test, coupled": ["s8-norm-test+bounds:max=128+linear"],
}
CLOSED = (
    "norm test",
    "inner product",
    "Big Batch",
    "CABS",
    "noise scale",
    "diversity",
    "norm test, coupled",
    "beacon",
)
DESIGN: dict[str, dict[str, Any]] = {
    "digits/resnet8": {"epochs": 40, "rates": [0.03], "seeds": [0, 1], "confirm": list(range(10, 15))},
    "digits/mlp": {"epochs": 40, "rates": [0.03, 0.1], "seeds": [0, 1, 2], "confirm": list(range(10, 15))},
}
FIXED_RATES = [0.003, 0.01, 0.03, 0.1, 0.3, 0.8]
FASTER = 0.8
SENTENCE = re.compile(r"geomean ([\d.e+]+) ± \d+ %, L ([\d.e+-]+) ±")


def main() -> None:
    """Train, choose, confirm, write."""
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("task", choices=DESIGN)
    told.add_argument("--out", type=Path, default=Path("runs/dynamic"))
    told.add_argument("--jobs", type=int, default=1)
    told.add_argument("--only-read", action="store_true")
    told.add_argument("--confirm-only", default=None, help="families to confirm, by comma; default all")
    args = told.parse_args()
    root, design = args.out / args.task.replace("/", "-"), DESIGN[args.task]
    common = {"task": args.task, "epochs": design["epochs"], "per_epoch": 2}
    few = {"jobs": args.jobs}
    if not args.only_read:
        fixed = {"batch_sizes": SIZES, "lrs": FIXED_RATES, "seeds": design["seeds"]}
        run_sweep({**common, **fixed}, root, **few)
        names = [name for family in FAMILIES.values() for name in family]
        run_sweep(
            {**common, "policies": names, "lrs": design["rates"], "seeds": design["seeds"]}, root, **few
        )
    cost = _cost(args.task, root)
    runs = load_runs(root)
    file = root / "beacons.json"
    if not file.exists():
        made = beacons_of(_selection(runs, design), _numbers(cost["seconds"]), task=args.task)
        file.write_text(made.to_json(), encoding="utf-8")
    made = read_beacons(file)
    if not args.only_read:
        beacon = [f"beacon:{file}"]
        run_sweep(
            {**common, "policies": beacon, "lrs": design["rates"], "seeds": design["seeds"]}, root, **few
        )
    table = _table(load_runs(root), cost)
    chosen, reference = _choice(table, design)
    if not args.only_read:
        wanted = None if args.confirm_only is None else args.confirm_only.split(",")
        for arm in [reference, *chosen]:
            if arm is reference or wanted is None or arm["family"] in wanted:
                policy = f"beacon:{file}" if arm["family"] == "beacon" else arm["policy"]
                grid = {"policies": [policy], "lrs": [arm["lr"]], "seeds": design["confirm"]}
                run_sweep({**common, **grid}, root, **few)
        table = _table(load_runs(root), cost)
    written = {
        "what": "dynamic sampling against fixed batch sizes; design in experiments/PREREGISTERED-dynamic.md",
        "command": f"python experiments/dynamic.py {args.task}",
        "design": design,
        "cost_model": cost,
        "choice": {"reference": reference, "families": chosen},
        "selection": _summary(table.filter(pl.col("seed").is_in(design["seeds"]))),
        "confirmation": _verdicts(table.filter(pl.col("seed").is_in(design["confirm"])), chosen, reference),
        "prediction": _predictions(made, table),
        "prediction_of_beacon_runs": _said(load_runs(root), table),
        "arrival": _arrivals(table, made),
        "missing": _missing(table, design, chosen),
    }
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"dynamic-{args.task.replace('/', '-')}.json"
    _picture(written, args.task)
    target.write_text(_lines(_rounded(written)), encoding="utf-8")
    sys.stdout.write(f"{target}\n")


def _picture(written: dict[str, Any], task: str) -> None:
    """Error against time of the confirmed settings, docs/images/dynamic-TASK.png."""
    from fisherscope.figures.pareto import Reached, pareto
    from fisherscope.figures.style import panels, styled

    rows = [row for row in written["confirmation"] if not row["diverged"]]
    base = next((row for row in rows if row["family"] == "reference"), None)
    points = [
        Reached(
            row["policy"] if fixed else row["family"], row["seconds"], row["test"], row["test_std"], fixed
        )
        for row in rows
        for fixed in [row["family"] in ("fixed front", "reference")]
        if not (row["family"] == "fixed front" and base and row["policy"] == base["policy"])
    ]
    if not points:
        return
    images = Path(__file__).parents[1] / "docs" / "images"
    images.mkdir(parents=True, exist_ok=True)
    with styled():
        figure, (axes,) = panels(1, 1, (7.6, 4.6))
        pareto(points, axes)
        axes.set_title(f"{task}, {len(written['design']['confirm'])} seeds that did not choose")
        figure.savefig(images / f"dynamic-{task.replace('/', '-')}.png", dpi=110)


def _selection(runs: Runs, design: dict[str, Any]) -> Runs:
    return runs.filter(pl.col("seed").is_in(design["seeds"]))


def _cost(task: str, root: Path) -> dict[str, Any]:
    """Seconds a step at each size, measured once and kept beside the runs."""
    place = root / "cost.json"
    if not place.exists():
        found = seconds_a_step({"task": task, "threads": 1}, SIZES, rounds=15)
        place.write_text(
            json.dumps({"seconds": found.plain, "measured": found.measured, "quartiles": found.spread,
                        "of": "median CPU seconds of a step, 15 interleaved rounds, one thread"})
        )  # fmt: skip
    held: dict[str, Any] = json.loads(place.read_text())
    return held


def _numbers(held: dict[str, float]) -> dict[int, float]:
    return {int(size): value for size, value in held.items()}


def _seconds(steps: float, samples: float, cost: dict[int, float]) -> float:
    """Modelled seconds of an epoch of so many steps: on the lines between the measured sizes."""
    size, known = samples / steps, sorted(cost)
    for low, high in pairwise(known):
        if size <= high or high == known[-1]:
            share = (size - low) / (high - low)
            return steps * (cost[low] + share * (cost[high] - cost[low]))
    raise AssertionError("at least two sizes are measured")


def _table(runs: Runs, cost: dict[str, Any]) -> pl.DataFrame:
    """A row a run: setting, seed, errors, samples, steps, modelled seconds, C̄, L, final size."""
    plain, measured = _numbers(cost["seconds"]), _numbers(cost["measured"])
    frame = settings_of(runs).frame
    names = dict(runs.runs.select("run_id", "policy").iter_rows())
    names = {run: "beacon" if name.startswith("beacon") else name for run, name in names.items()}
    rows = []
    for row in frame.iter_rows(named=True):
        if row["status"] not in ("finished", "diverged"):
            continue
        epochs = runs.epochs.filter(pl.col("run_id") == row["run_id"]).sort("epoch")
        family = _family(str(names[row["run_id"]]), bool(row["fixed"]))
        steps, taken, last = 0.0, 0.0, 0.0
        for step in epochs["step"].to_list():
            taken += _seconds(step - last, 300, plain)
            if family in CLOSED:
                size = 300 / (step - last)
                taken += 2 * (_seconds(1, size, measured) - _seconds(1, size, plain))
            steps, last = step, step
        ended = row["status"] == "finished" and len(epochs) > 0
        final = epochs.row(-1, named=True) if len(epochs) else {}
        sizes = runs.steps.filter(pl.col("run_id") == row["run_id"])["batch_size"].tail(4).max()
        rows.append({
            "run_id": row["run_id"], "policy": names[row["run_id"]], "family": family, "lr": row["lr"],
            "seed": row["seed"], "diverged": not ended,
            "val": final["val/error"] if ended else 0.9, "test": final["test/error"] if ended else 0.9,
            "samples": final.get("samples"), "steps": steps, "seconds": taken,
            "cond": final.get("fisher/cond_geomean"), "cond_mean": final.get("fisher/cond_mean"),
            "energy": final.get("fisher/energy_sum"), "final_size": sizes,
        })  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None)


def _family(policy: str, fixed: bool) -> str:
    if fixed:
        return "fixed"
    if policy.startswith("beacon"):
        return "beacon"
    return next((family for family, names in FAMILIES.items() if policy in names), "other")


def _summary(table: pl.DataFrame) -> list[dict[str, Any]]:
    """Means over seeds of each setting."""
    return _means(table).sort("lr", "seconds").to_dicts() if len(table) else []


def _means(table: pl.DataFrame) -> pl.DataFrame:
    return table.group_by("family", "policy", "lr", maintain_order=True).agg(
        pl.len().alias("n"), pl.col("diverged").sum(),
        pl.col("val").mean(), pl.col("test").mean(), pl.col("test").std().alias("test_std"),
        pl.col("samples").mean(), pl.col("steps").mean(), pl.col("seconds").mean(),
        pl.col("cond").log().mean().exp(), pl.col("cond_mean").log().mean().exp(),
        pl.col("energy").log().mean().exp(), pl.col("final_size").mean(),
    )  # fmt: skip


def _choice(table: pl.DataFrame, design: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The setting of each family, and the best fixed one at the policies' first rate, by validation."""
    means = _means(table.filter(pl.col("seed").is_in(design["seeds"])))
    fixed = means.filter(pl.col("family") == "fixed")
    at = {
        lr: fixed.filter(pl.col("lr") == lr).sort("val", "seconds").row(0, named=True)
        for lr in design["rates"]
    }
    reference = min(at.values(), key=lambda row: row["val"])
    chosen = []
    for family in [*FAMILIES, "beacon"]:
        mine = means.filter(pl.col("family") == family).to_dicts()
        good = [
            r
            for r in mine
            if r["lr"] in at and r["val"] <= at[r["lr"]]["val"] + margin(at[r["lr"]]["val"], "val/error")
        ]
        if mine:
            chosen.append(
                min(good, key=lambda r: r["seconds"]) if good else min(mine, key=lambda r: r["val"])
            )
    front = [
        fixed.filter(pl.col("policy") == f"s{size}").sort("val", "seconds").row(0, named=True)
        for size in SIZES
        if len(fixed.filter(pl.col("policy") == f"s{size}"))
    ]
    return [*chosen, *({**row, "family": "fixed front"} for row in front)], {
        **reference,
        "family": "reference",
    }


def _verdicts(
    table: pl.DataFrame, chosen: list[dict[str, Any]], reference: dict[str, Any]
) -> list[dict[str, Any]]:
    """Each chosen setting against the reference, on seeds that did not choose."""
    base = _of(table, reference)
    if len(base) < 2:
        return []
    found = [{"family": "reference", **_means(base).drop("family").row(0, named=True)}]
    for arm in chosen:
        mine = _of(table, arm)
        if len(mine) < 2 or (arm["policy"], arm["lr"]) == (reference["policy"], reference["lr"]):
            continue
        test = welch(Sample.of(mine["test"].to_list()), Sample.of(base["test"].to_list()))
        allowed = margin(float(base["test"].mean()), "test/error")
        ratio = float(mine["seconds"].mean()) / float(base["seconds"].mean())
        lower = test.estimate - (test.upper() - test.estimate)
        good, bad = test.upper() < allowed, lower > allowed or mine["diverged"].any()
        verdict = (
            "supported"
            if good and ratio <= FASTER
            else "contradicted"
            if bad or ratio > FASTER
            else "inconclusive"
        )
        found.append({
            **_means(mine).drop("family").row(0, named=True), "family": arm["family"],
            "difference": test.estimate, "upper": test.upper(), "margin": allowed, "as_good": good,
            "time_ratio": ratio, "verdict": verdict,
        })  # fmt: skip
    return found


def _of(table: pl.DataFrame, arm: dict[str, Any]) -> pl.DataFrame:
    return table.filter(pl.col("policy") == arm["policy"], pl.col("lr") == arm["lr"])


def _predictions(beacons: Beacons, table: pl.DataFrame) -> dict[str, Any]:
    """The end of every open-loop schedule as forecast from the beacons alone, against what was reached."""
    rows = []
    for row in table.filter(~pl.col("diverged")).iter_rows(named=True):
        if row["family"] not in ("staged -∅", "staged -MS", "growth") or row["cond"] is None:
            continue
        policy = parse(row["policy"], lr=row["lr"], epochs=beacons.epochs)
        try:
            ahead = road(beacons, growth_at(beacons, row["lr"]), policy.rate)
        except ValueError:
            continue
        plan = _plan(policy, beacons, ahead.growth.sizes)
        spread = beacons.cond_spread.run, beacons.energy_spread.run
        end = ahead.end(Standing(0, 0, 0.0, 0.0, (0.0, 0.0), spread), 0, 0, plan)
        misses = math.log(row["cond"]) - end.cond, math.log(row["energy"]) - end.energy
        rows.append(
            (*misses, abs(misses[0]) <= 1.645 * end.cond_std, abs(misses[1]) <= 1.645 * end.energy_std)
        )
    if not rows:
        return {"runs": 0}
    places = [(math.log(p.cond), math.log(p.energy)) for p in beacons.region]
    reach = [max(p[k] for p in places) - min(p[k] for p in places) for k in (0, 1)]
    rms = [math.sqrt(sum(r[k] ** 2 for r in rows) / len(rows)) for k in (0, 1)]
    return {
        "what": "ends of staged and growing runs as forecast at the start, from the selection seeds' beacons",
        "runs": len(rows),
        "rms_log": {"cond": rms[0], "energy": rms[1]},
        "median_log": {k: median(abs(r[i]) for r in rows) for i, k in enumerate(("cond", "energy"))},
        "bias_log": {k: sum(r[i] for r in rows) / len(rows) for i, k in enumerate(("cond", "energy"))},
        "share_of_range": {"cond": rms[0] / reach[0], "energy": rms[1] / reach[1]},
        "covered_by_90": {
            k: sum(r[2 + i] for r in rows) / len(rows) for i, k in enumerate(("cond", "energy"))
        },
    }


def _said(runs: Runs, table: pl.DataFrame) -> dict[str, Any]:
    """What BeaconPolicy itself foretold at the start, and last before half of the run, against the end."""
    found: dict[str, list[tuple[float, float]]] = {"at the start": [], "before half of the run": []}
    for row in table.filter(pl.col("family") == "beacon", ~pl.col("diverged")).iter_rows(named=True):
        epochs = runs.epochs.filter(pl.col("run_id") == row["run_id"]).sort("epoch")
        half = epochs.filter(pl.col("epoch") <= epochs["epoch"].max() / 2)
        told = SENTENCE.findall(" ".join(half["policy/decisions"].to_list()))
        for moment, (cond, energy) in zip(found, (told[0], told[-1]), strict=True):
            misses = math.log(row["cond"] / float(cond)), math.log(row["energy"] / float(energy))
            found[moment].append(misses)
    return {
        moment: {
            "runs": len(misses),
            "rms_log": {
                k: math.sqrt(sum(m[i] ** 2 for m in misses) / len(misses)) for i, k in enumerate("CL")
            },
            "median_log": {k: median(abs(m[i]) for m in misses) for i, k in enumerate("CL")},
        }
        for moment, misses in found.items()
        if misses
    }


def _plan(policy: Policy, beacons: Beacons, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The nearest size's number in the middle of each part."""
    state, plan = policy.init(), []
    total = beacons.epochs * beacons.samples
    for part in range(beacons.parts):
        at = (2 * part + 1) * total // (2 * beacons.parts)
        seen = Observation(at // beacons.samples, at % beacons.samples, beacons.samples)
        state, decision = policy.update(state, seen)
        plan.append(min(range(len(sizes)), key=lambda k: abs(math.log(sizes[k] / decision.batch_size))))
    return tuple(plan)


def _arrivals(table: pl.DataFrame, beacons: Beacons) -> list[dict[str, Any]]:
    """Share of each family's runs that end inside the region."""
    region, found = region_of(beacons.region), []
    steered = table.filter(pl.col("lr").is_in([0.03, 0.1]))
    for (family,), part in steered.group_by("family", maintain_order=True):
        ends = part.filter(~pl.col("diverged")).select("cond", "energy").drop_nulls().rows()
        inside = sum(region.holds(math.log(c), math.log(e)) for c, e in ends)
        found.append({"family": family, "runs": len(part), "inside": inside, "share": inside / len(part)})
    return found


def _missing(table: pl.DataFrame, design: dict[str, Any], chosen: list[dict[str, Any]]) -> list[str]:
    """What the design asks for and no finished run gives."""
    there = set(table.select("policy", "lr", "seed").rows())
    names = [name for family in FAMILIES.values() for name in family]
    want = [(p, lr, s) for p in names for lr in design["rates"] for s in design["seeds"]]
    want += [(f"s{b}", lr, s) for b in SIZES for lr in FIXED_RATES for s in design["seeds"]]
    want += [(arm["policy"], arm["lr"], s) for arm in chosen for s in design["confirm"]]
    left = [w for w in want if w not in there]
    return [f"{len(left)} of {len(want)} runs", *sorted({f"{p}-lr{lr:g}" for p, lr, _ in left})]


def _lines(written: dict[str, Any]) -> str:
    """JSON with a line for each key, and one for each row of a table."""
    parts = []
    for key, value in written.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            text = "[\n  " + ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in value) + "\n ]"
        parts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list | tuple) else value


if __name__ == "__main__":
    main()
