"""Runs of a comparison as rows: what each took and reached, which setting stands for its family, verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import polars as pl
from experiments.dynamic.designs import Design

from fisherscope.analysis import settings_of
from fisherscope.analysis.landscapes.plane import margin
from fisherscope.analysis.stats.hypothesis_tests import Sample, paired_difference, welch
from fisherscope.policy import parse
from fisherscope.runs import Runs

FASTER = 0.8
"""Of the reference's time, at most."""
LOST = 0.9
"""Error that a diverged run counts as."""

Arm = dict[str, Any]
Rows = list[dict[str, Any]]


def table_of(runs: Runs, cost: dict[str, Any], design: Design) -> pl.DataFrame:
    """Return a row a run: setting, seed, errors, samples, steps, modelled seconds, C̄, L, last size."""
    names = dict(runs.runs.select("run_id", "policy").iter_rows())
    epochs = {key[0]: part.sort("epoch") for key, part in runs.epochs.group_by("run_id")}
    last = runs.steps.sort("step").group_by("run_id").agg(pl.col("batch_size").tail(4).max())
    sizes = dict(last.iter_rows())
    rows = []
    for row in settings_of(runs).frame.iter_rows(named=True):
        name, mine = str(names[row["run_id"]]), epochs.get(row["run_id"])
        if row["status"] not in ("finished", "diverged"):
            continue
        name = "beacon" if name.startswith("beacon") else name
        family = _family(name, bool(row["fixed"]), design)
        ended = row["status"] == "finished" and mine is not None
        final = mine.row(-1, named=True) if mine is not None else {}
        steps = [] if mine is None else mine["step"].to_list()
        rows.append({
            "run_id": row["run_id"], "policy": name, "family": family, "lr": row["lr"], "seed": row["seed"],
            "diverged": not ended,
            "val": final["val/error"] if ended else LOST, "test": final["test/error"] if ended else LOST,
            "samples": final.get("samples"), "steps": float(steps[-1] if steps else 0),
            "seconds": _seconds(steps, cost, design, _measures(name)),
            "cond": final.get("fisher/cond_geomean"), "cond_mean": final.get("fisher/cond_mean"),
            "energy": final.get("fisher/energy_sum"), "final_size": sizes.get(row["run_id"]),
        })  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None)


def _measures(name: str) -> bool:
    """Whether a policy reads measurements, and so has to pay for them."""
    return name == "beacon" or parse(name, lr=1.0, epochs=1).closed_loop


def _family(name: str, fixed: bool, design: Design) -> str:
    if fixed:
        return "fixed"
    if name == "beacon":
        return name
    return next((family for family, names in design.families.items() if name in names), "other")


def _seconds(steps: Sequence[float], cost: dict[str, Any], design: Design, closed: bool) -> float:
    """Modelled seconds of epochs that ended after so many steps; with measurements, for closed loops."""
    plain, measured = ({int(b): s for b, s in cost[key].items()} for key in ("seconds", "measured"))
    taken = 0.0
    for before, after in pairwise([0.0, *steps]):
        size = design.samples / (after - before)
        taken += (after - before) * _at(size, plain)
        if closed:
            taken += design.settings["per_epoch"] * (_at(size, measured) - _at(size, plain))
    return taken


def _at(size: float, cost: dict[int, float]) -> float:
    """Seconds of a step: on the lines between the measured sizes."""
    known = sorted(cost)
    low, high = next((p for p in pairwise(known) if size <= p[1]), (known[-2], known[-1]))
    return cost[low] + (size - low) / (high - low) * (cost[high] - cost[low])


def summary(
    table: pl.DataFrame, *, seeds: Sequence[int] | None = None, policies: Sequence[str] | None = None
) -> Rows:
    """Means over seeds of each setting; of these seeds and policies only."""
    selected = table
    for column, wanted in (("seed", seeds), ("policy", policies)):
        selected = selected if wanted is None else selected.filter(pl.col(column).is_in(wanted))
    return _means(selected).sort("lr", "seconds").to_dicts() if len(selected) else []


def _means(table: pl.DataFrame) -> pl.DataFrame:
    return table.group_by("family", "policy", "lr", maintain_order=True).agg(
        pl.len().alias("n"), pl.col("diverged").sum(),
        pl.col("val").mean(), pl.col("test").mean(), pl.col("test").std().alias("test_std"),
        pl.col("samples").mean(), pl.col("steps").mean(), pl.col("seconds").mean(),
        pl.col("cond").log().mean().exp(), pl.col("cond_mean").log().mean().exp(),
        pl.col("energy").log().mean().exp(), pl.col("final_size").mean(),
        pl.col("cond").log().std().alias("cond_log_std"),
        pl.col("energy").log().std().alias("energy_log_std"),
    )  # fmt: skip


def choice(table: pl.DataFrame, design: Design) -> tuple[list[Arm], Arm]:
    """Choose a setting of each family, and the best fixed one at the policies' first rate, by validation."""
    means = _means(table.filter(pl.col("seed").is_in(design.seeds)))
    fixed = means.filter(pl.col("family") == "fixed", pl.col("policy").is_in([f"s{b}" for b in design.sizes]))
    best = {lr: _best(fixed.filter(pl.col("lr") == lr)) for lr in design.rates}
    reference = min(best.values(), key=lambda row: row["val"])
    chosen = []
    for family in [*design.families, "beacon"]:
        mine = means.filter(pl.col("family") == family, pl.col("lr").is_in(design.rates)).to_dicts()
        if mine:
            chosen.append(_of_family(mine, best))
        elif not design.chosen or family == "beacon":
            names = design.families.get(family, ("beacon",))
            chosen += [{"family": family, "policy": name, "lr": design.rates[0]} for name in names]
    by_size = [fixed.filter(pl.col("policy") == f"s{size}") for size in design.sizes if design.front]
    front = [{**_best(part), "family": "fixed front"} for part in by_size if len(part)]
    return [*chosen, *front], {**reference, "family": "reference"}


def _best(settings: pl.DataFrame) -> Arm:
    return settings.sort("val", "seconds").row(0, named=True)


def _of_family(settings: Rows, best: dict[float, Arm]) -> Arm:
    """Choose the fastest within the margin of the best fixed one at its rate; if none is, the best."""

    def allowed(row: Arm) -> float:
        return float(best[row["lr"]]["val"] + margin(best[row["lr"]]["val"], "val/error"))

    good = [row for row in settings if row["val"] <= allowed(row)]
    return min(good, key=lambda r: r["seconds"]) if good else min(settings, key=lambda r: r["val"])


def verdicts(table: pl.DataFrame, design: Design, chosen: list[Arm], reference: Arm) -> Rows:
    """Each chosen setting against the reference, on seeds that did not choose."""
    judged = table.filter(pl.col("seed").is_in(design.confirm))
    base = _of(judged, reference)
    if not len(base):
        return []
    rows = [{"family": "reference", **_means(base).drop("family").row(0, named=True)}]
    for arm in chosen:
        mine = _of(judged, arm)
        if len(mine) and (arm["policy"], arm["lr"]) != (reference["policy"], reference["lr"]):
            row = _means(mine).drop("family").row(0, named=True)
            rows.append({**row, "family": arm["family"], **_verdict(mine, base)})
    return rows


def _verdict(mine: pl.DataFrame, base: pl.DataFrame) -> dict[str, Any]:
    """Equivalence of the error and ratio of the time; "supported" needs both. One seed has no bound."""
    ratio = float(mine["seconds"].mean()) / float(base["seconds"].mean())
    allowed = margin(float(base["test"].mean()), "test/error")
    row: dict[str, Any] = {"margin": allowed, "time_ratio": ratio, "paired_upper": _paired_upper(mine, base)}
    if min(len(mine), len(base)) < 2:
        both = mine.join(base, on="seed", suffix="_base")
        difference = (both["test"] - both["test_base"]).mean()
        verdict = "contradicted" if ratio > FASTER else "inconclusive"
        return row | {"difference": difference, "upper": None, "verdict": verdict}
    test = welch(Sample.of(mine["test"].to_list()), Sample.of(base["test"].to_list()))
    lower = test.estimate - (test.upper() - test.estimate)
    good, bad = test.upper() < allowed, lower > allowed or mine["diverged"].any()
    verdict = "contradicted" if bad or ratio > FASTER else "supported" if good else "inconclusive"
    return row | {"difference": test.estimate, "upper": test.upper(), "lower": lower, "as_good": good,
                   "verdict": verdict}  # fmt: skip


def _paired_upper(mine: pl.DataFrame, base: pl.DataFrame) -> float | None:
    """Exploratory: the bound by differences within seeds, which share network, split and order."""
    both = mine.join(base, on="seed", suffix="_base")
    differences = (both["test"] - both["test_base"]).to_list()
    if len(differences) < 2:
        return None
    return paired_difference(differences).upper() if len(set(differences)) > 1 else float(differences[0])


def _of(table: pl.DataFrame, arm: Arm) -> pl.DataFrame:
    return table.filter(pl.col("policy") == arm["policy"], pl.col("lr") == arm["lr"])


def missing(table: pl.DataFrame, design: Design, arms: list[Arm]) -> list[str]:
    """List what the design asks for and no finished run gives."""
    there = set(table.select("policy", "lr", "seed").rows())
    want = [(p, lr, s) for p in design.names if design.chosen for lr in design.rates for s in design.seeds]
    want += [
        (p, lr, s) for p in design.pairs if not design.chosen for lr in design.rates for s in design.confirm
    ]
    want += [(f"s{b}", lr, s) for b in design.sizes for lr in design.fixed_rates for s in design.seeds]
    want += [(arm["policy"], arm["lr"], s) for arm in arms for s in design.confirm]
    left = [w for w in dict.fromkeys(want) if w not in there]
    return [f"{len(left)} of {len(set(want))} runs", *sorted({f"{p}-lr{lr:g}" for p, lr, _ in left})]
