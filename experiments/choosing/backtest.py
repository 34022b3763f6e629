"""Is `choose` right to halve, and are its intervals worth their name? `python -m experiments.choosing`.

Plays every way of choosing on the committed sweeps (each seed chooses, the others judge), sets successive
halving (what `choose` does) against each, and counts how often what `choose` says of its choice holds on the
other seeds. Writes experiments/results/choosing.json; about a minute.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from experiments.study.sweeps import RESULTS, SWEEPS, fixed, load, plain, stored

from fisherscope import analysis
from fisherscope.analysis.data.settings import settings_of
from fisherscope.analysis.landscapes.plane import margin
from fisherscope.analysis.selection.halving_from_runs import halving_from_runs
from fisherscope.analysis.selection.halving_result import Candidate
from fisherscope.analysis.selection.successive_halving import halving_plan
from fisherscope.analysis.stats.resampling import generator
from fisherscope.runs.reader import Runs

OURS = "successive halving"
BUDGETS = (0.1, 0.2, 0.3, 0.5)
DRAWS = 10_000
VALIDATION = {"digits": 500, "mnist": 5000}
"""Validation samples by the beginning of a sweep's name."""


def main() -> None:
    """Both parts."""
    sweeps = {name: fixed(load(name)) for name in SWEEPS if stored(name).exists()}
    played = analysis.backtest(sweeps, budgets=BUDGETS)
    results = {
        "command": "python -m experiments.choosing",
        "sweeps": played.sweeps.to_dicts(),
        "summary": played.summary.to_dicts(),
        "in_margins": played.within_margin().to_dicts(),
        "against": [row for budget in BUDGETS for row in against(played.trials, budget)],
        "said": [statements_held(sweeps, budget) for budget in BUDGETS],
    }
    path = RESULTS / "choosing.json"
    path.write_text(json.dumps(plain(results), indent=1, allow_nan=False) + "\n")
    print(path)
    for row in [*results["against"], *results["said"]]:
        print(row)


def against(trials: pl.DataFrame, budget: float) -> Iterator[dict[str, Any]]:
    """Regret of successive halving minus that of each other way, on the same plays; resampled by sweep."""
    rows = trials.filter((pl.col("budget") == budget) & pl.col("regret").is_not_null())
    ours = rows.filter(pl.col("rival") == OURS).select("sweep", "seed", ours="regret")
    for (rival,), theirs in rows.filter(pl.col("rival") != OURS).group_by("rival", maintain_order=True):
        both = theirs.join(ours, on=["sweep", "seed"]).with_columns(
            gap=100 * (pl.col("ours") - pl.col("regret"))
        )
        means = both.group_by("sweep", maintain_order=True).agg(pl.col("gap").mean())["gap"].to_numpy()
        if not len(means):
            continue
        drawn = means[generator().integers(0, len(means), (DRAWS, len(means)))].mean(axis=1)
        low, high = np.quantile(drawn, (0.025, 0.975))
        yield {
            "budget": budget, "rival": rival, "points": float(means.mean()), "low": float(low),
            "high": float(high), "sweeps_better": int((means < 0).sum()),
            "sweeps_worse": int((means > 0).sum()), "sweeps": len(means),
        }  # fmt: skip


def statements_held(sweeps: dict[str, Runs], budget: float) -> dict[str, Any]:
    """How often what `choose` says of its choice holds on the other seeds, over plays with other seeds."""
    rows = [row for name, runs in sweeps.items() for row in plays(name, runs, budget)]
    means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]} if rows else {}
    return {"budget": budget, "plays": len(rows), **means}


def plays(name: str, runs: Runs, budget: float) -> Iterator[dict[str, float]]:
    """One row a seed: does its interval hold the others' mean, is the best among what it could not tell?"""
    frame = settings_of(runs).frame.sort("batch_size", "lr")
    epochs, last = settings_of(runs).planned, runs.epochs.sort("epoch").group_by("run_id").last()
    ended = frame.join(last.select("run_id", "val/error"), on="run_id").with_columns(
        pl.when(pl.col("status") == "finished").then("val/error").otherwise(1.0).alias("error")
    )
    for seed in frame["seed"].unique().sort():
        others = ended.filter(pl.col("seed") != seed)
        truth = dict(others.group_by("setting").agg(pl.col("error").mean()).iter_rows())
        if not truth:
            continue
        mine = frame.filter(pl.col("seed") == seed)
        candidates = [Candidate(*row) for row in mine.select("run_id", "batch_size", "lr").iter_rows()]
        try:
            plan = halving_plan(len(candidates), epochs, budget * len(candidates) * epochs)
        except analysis.AnalysisError:  # the budget does not pay for an epoch of each
            return
        samples = VALIDATION[name.partition("-")[0].rstrip("0123456789")]
        result = halving_from_runs(runs, candidates, plan, metric="val/error", samples=samples)
        if result.recommended is None or result.interval is None:
            continue
        error, best = truth[result.recommended.name], min(truth.values())
        named = [result.recommended.name, *(rival.name for rival, _ in result.rivals)]
        allowed = margin(best, "val/error")
        yield {
            "covered": result.interval[0] <= error <= result.interval[1],
            "named": len(named) / len(candidates),
            "best_named": min(truth, key=lambda setting: truth[setting]) in named,
            "within_margin_named": min(truth[setting] for setting in named) <= best + allowed,
            "chosen_within_margin": error <= best + allowed,
        }
