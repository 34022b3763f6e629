"""Any measure of any run at any epoch: recorded, averaged from measured steps, or recomputed from spectra.

Names: a column of the epoch rows (`fisher/cond_mean`, `val/error`; `fisher/` may be left out); a column of
the step rows with `_mean`, `_geomean`, `_median` (`effective_rank_mean`; each measurement weighted by the
steps it stands for) or `_last`;
`cond_mean@RULE`, recomputed by that non-zero rule (`cond_geomean@relative:1e-2`);
`energy_density`, L_K over its mechanical null Σ α/sqrt(|B|); `noise_scale`, the ratio of means.
"""

import math
from collections.abc import Iterator
from difflib import get_close_matches

import numpy as np
import polars as pl

from fisherscope.analysis.data.settings import FloatArray, Settings, constant_sizes
from fisherscope.analysis.data.stored_spectra import conds
from fisherscope.analysis.errors import AnalysisError
from fisherscope.measures import parse_rule, weighted_median
from fisherscope.runs.reader import Runs

COND, ENERGY = "fisher/cond_mean", "fisher/energy_sum"
"""The paper's axes: C̄_K and L_K."""

PREFIXES = ("", "fisher/", "noise/", "gradient/", "test/", "time/")
MEANS = ("_mean", "_geomean", "_median", "_last")
ALIASES = {"C": COND, "L": ENERGY, "cond": COND, "energy": ENERGY}


def measure(settings: Settings, name: str) -> pl.DataFrame:
    """`run_id, epoch, value` of a measure, for every epoch of every run; undefined values left out.

    Raises:
        AnalysisError: Nothing recorded gives this measure; names what there is.
    """
    if name not in settings.cache:
        settings.cache[name] = measure_of_runs(settings.runs, name)
    known = settings.frame["run_id"].to_list()
    return settings.cache[name].filter(pl.col("run_id").is_in(known))


def at_epoch(settings: Settings, name: str, epoch: int | None = None) -> pl.DataFrame:
    """`run_id, value` of a measure at an epoch; None is each run's last."""
    values = measure(settings, name)
    if epoch is None:
        return values.sort("epoch").group_by("run_id", maintain_order=True).agg(pl.col("value").last())
    return values.filter(pl.col("epoch") == epoch).select("run_id", "value")


def measure_of_runs(runs: Runs, name: str) -> pl.DataFrame:
    """`measure` of any runs, with no settings in between.

    Raises:
        AnalysisError: As `measure`.
        ValueError: The rule is none.
    """
    name = ALIASES.get(name, name)
    head, _, rule = name.partition("@")
    if rule:
        parse_rule(rule)
    exported = runs.measures
    if name in exported.columns:
        kept = _finite(exported.select("run_id", "epoch", pl.col(name).cast(pl.Float64).alias("value")))
        logged = set(runs.epochs["run_id"].to_list())  # a run that ended in its first epoch has no measure
        others = logged - set(exported["run_id"].to_list())
        if not others:
            return kept
        rest = _measure(runs.filter(pl.col("run_id").is_in(others)), name, head, rule)
        return pl.concat([kept, rest])
    return _measure(runs, name, head, rule)


def available(settings: Settings) -> list[str]:
    """Names that `measure` takes, without those that name a rule."""
    return _available(settings.runs)


def _available(runs: Runs) -> list[str]:
    epochs, steps = runs.epochs, runs.steps
    recorded = [c for c, kind in epochs.schema.items() if kind.is_numeric() and c not in ("epoch", "step")]
    averaged = [f"{c}_mean" for c in steps.columns if "/" in c and steps.schema[c].is_numeric()]
    kept = [c for c in runs.measures.columns if c not in ("run_id", "epoch")]
    return list(dict.fromkeys([*recorded, *averaged, *kept]))


def _measure(runs: Runs, name: str, head: str, rule: str) -> pl.DataFrame:
    if rule:
        return _table(_recomputed(runs, head, rule))
    epochs = runs.epochs
    found = next((p + name for p in PREFIXES if p + name in epochs.columns), None)
    if found is not None and epochs[found].dtype.is_numeric():
        return _finite(epochs.select("run_id", "epoch", pl.col(found).cast(pl.Float64).alias("value")))
    if name == "energy_density":
        return _table(_density(runs))
    if name == "noise_scale":
        parts = [measure_of_runs(runs, f"noise/{part}_mean") for part in ("variance", "signal")]
        both = parts[0].join(parts[1], on=["run_id", "epoch"]).filter(pl.col("value_right") > 0)
        return both.select("run_id", "epoch", pl.col("value") / pl.col("value_right"))
    column, mean = _step_column(runs, name)
    return _table(_averaged(runs, column, mean))


def _step_column(runs: Runs, name: str) -> tuple[str, str]:
    """The column of the steps and the kind of mean that a name asks for."""
    mean = next((m for m in MEANS if name.endswith(m)), "")
    stem = name.removesuffix(mean) if mean else name
    column = next((p + stem for p in PREFIXES if p + stem in runs.steps.columns), None)
    if not mean or column is None:
        known = _available(runs)
        near = get_close_matches(name, [*known, *(k.rpartition("/")[2] for k in known)], n=3, cutoff=0.5)
        raise AnalysisError(
            f"reading the measure {name!r} of {len(runs)} runs: neither epochs nor steps give it"
            + (f"; near: {', '.join(near)}" if near else f"; recorded: {', '.join(known) or 'nothing'}")
        )
    return column, mean


def _table(rows: Iterator[tuple[str, int, float]]) -> pl.DataFrame:
    schema = {"run_id": pl.String, "epoch": pl.Int64, "value": pl.Float64}
    return _finite(pl.DataFrame(list(rows), schema=schema, orient="row"))


def _finite(values: pl.DataFrame) -> pl.DataFrame:
    return values.filter(pl.col("value").is_finite())


def _averaged(runs: Runs, column: str, mean: str) -> Iterator[tuple[str, int, float]]:
    ends = _ends(runs)
    for (run_id,), steps in runs.steps.group_by("run_id", maintain_order=True):
        values = steps[column].cast(pl.Float64).fill_null(math.nan).to_numpy()
        yield from _means(str(run_id), ends, steps, values, mean)


def _recomputed(runs: Runs, name: str, rule: str) -> Iterator[tuple[str, int, float]]:
    mean = next((m for m in MEANS if name in (f"cond{m}", f"fisher/cond{m}")), None)
    if mean is None:
        raise AnalysisError(
            f"recomputing {name!r} by the rule {rule!r}: expected cond_mean, cond_geomean, cond_median or "
            "cond_last"
        )
    stored, ends = 0, _ends(runs)
    for run_id, steps, values in conds(runs, rule):
        stored += 1
        yield from _means(run_id, ends, steps, values, mean)
    if not stored:
        kept = [c for c in runs.measures.columns if "@" in c]
        has = f"; this export keeps {', '.join(kept)}" if kept else ""
        raise AnalysisError(
            f"recomputing {name}@{rule} of {len(runs)} runs: no spectra are stored{has}; measure with "
            "fs.Monitor(…, run=run), or give log_step the eigenvalues"
        )


def _means(
    run_id: str, ends: "dict[str, list[tuple[int, int]]]", steps: pl.DataFrame, values: FloatArray, mean: str
) -> Iterator[tuple[str, int, float]]:
    """The running mean of measured values at the end of each epoch."""
    weights = _column(steps, "steps_since", 1.0)
    known = np.isfinite(values) & (weights > 0)
    number, values, weights = _column(steps, "step", 0.0)[known], values[known], weights[known]
    if not len(values):
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.log(values) if mean == "_geomean" else values
    sums, total = np.cumsum(terms * weights), np.cumsum(weights)
    for epoch, step in ends.get(run_id, ()):
        seen = int(np.searchsorted(number, step, side="left"))  # step k is done once k + 1 steps are
        if not seen:
            continue
        if mean == "_last":
            yield run_id, epoch, float(values[seen - 1])
        elif mean == "_median":
            yield run_id, epoch, weighted_median(values[:seen].tolist(), weights[:seen].tolist())
        else:
            average = float(sums[seen - 1] / total[seen - 1])
            yield run_id, epoch, float(np.exp(average)) if mean == "_geomean" else average


def _density(runs: Runs) -> Iterator[tuple[str, int, float]]:
    """L_K/S_K with S_K = Σ α/sqrt(|B|) over all steps."""
    sizes = constant_sizes(runs)
    mine = {(r, e): v for r, e, v in measure_of_runs(runs, ENERGY).iter_rows()}
    steps = {str(key[0]): part for key, part in runs.steps.partition_by("run_id", as_dict=True).items()}
    for row in runs.epochs.iter_rows(named=True):
        run_id, scale = row["run_id"], row.get("step_scale_sum")
        if scale is None and run_id in steps and "step_scale_sum" in runs.steps.columns and row.get("step"):
            scale = _scale_at(steps[run_id], float(row["step"]))
        elif scale is None and sizes.get(run_id) and row.get("lr_sum"):
            scale = row["lr_sum"] / float(sizes[run_id] or 1) ** 0.5
        if scale and (run_id, row["epoch"]) in mine:
            yield run_id, int(row["epoch"]), mine[run_id, row["epoch"]] / scale


def _scale_at(steps: pl.DataFrame, step: float) -> float:
    """S at a step, on the line through the measured ones; beyond the last, by the last slope."""
    seen = steps.select(pl.col("step") + 1, "step_scale_sum").drop_nulls().to_numpy().astype(np.float64)
    if not len(seen):
        return 0.0
    if step <= seen[-1, 0] or len(seen) < 2:
        return float(np.interp(step, seen[:, 0], seen[:, 1]))
    slope = (seen[-1, 1] - seen[-2, 1]) / (seen[-1, 0] - seen[-2, 0])
    return float(seen[-1, 1] + slope * (step - seen[-1, 0]))


def _ends(runs: Runs) -> dict[str, list[tuple[int, int]]]:
    """(epoch, steps done) of every run's epochs."""
    ends: dict[str, list[tuple[int, int]]] = {}
    if "step" in runs.epochs.columns:
        for run_id, epoch, step in runs.epochs.select("run_id", "epoch", "step").drop_nulls().iter_rows():
            ends.setdefault(run_id, []).append((int(epoch), int(step)))
    return ends


def _column(frame: pl.DataFrame, name: str, missing: float) -> FloatArray:
    if name not in frame.columns:
        return np.full(len(frame), missing)
    values: FloatArray = frame[name].cast(pl.Float64).fill_null(missing).to_numpy()
    return values
