"""Any measure of any run at any epoch: recorded, averaged from measured steps, or recomputed from spectra.

Names: a column of the epoch rows (`fisher/cond_mean`, `val/error`; `fisher/` may be left out); a column of
the step rows with `_mean`, `_geomean`, `_median` (`effective_rank_mean`; each measurement weighted by the
steps it stands for) or `_last`;
`cond_mean@RULE`, recomputed by that non-zero rule (`cond_geomean@relative:1e-2`);
`energy_density`, L_K over its mechanical null Σ α/sqrt(|B|); `noise_scale`, the ratio of means.
"""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

import numpy as np
import polars as pl

from fisherscope import measures
from fisherscope.analysis.errors import AnalysisError
from fisherscope.analysis.settings import FloatArray, Settings

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
        whole = Settings(settings.runs, settings.frame, settings.task, settings.notes)
        runs = settings.runs.runs["run_id"].to_list()
        settings.cache[name] = _measure(whole, ALIASES.get(name, name), runs)
    known = settings.frame["run_id"].to_list()
    return settings.cache[name].filter(pl.col("run_id").is_in(known))


def at_epoch(settings: Settings, name: str, epoch: int | None = None) -> pl.DataFrame:
    """`run_id, value` of a measure at an epoch; None is each run's last."""
    values = measure(settings, name)
    if epoch is None:
        return values.sort("epoch").group_by("run_id", maintain_order=True).agg(pl.col("value").last())
    return values.filter(pl.col("epoch") == epoch).select("run_id", "value")


def available(settings: Settings) -> list[str]:
    """Names that `measure` takes, without those that name a rule."""
    epochs = settings.runs.epochs
    recorded = [c for c, kind in epochs.schema.items() if kind.is_numeric() and c not in ("epoch", "step")]
    steps = settings.runs.steps
    averaged = [f"{c}_mean" for c in steps.columns if "/" in c and steps.schema[c].is_numeric()]
    return [*recorded, *(c for c in averaged if c not in recorded)]


def _measure(settings: Settings, name: str, runs: list[str]) -> pl.DataFrame:
    head, _, rule = name.partition("@")
    if rule:
        return _table(_recomputed(settings, head, rule, runs))
    epochs = settings.runs.epochs
    found = next((p + name for p in PREFIXES if p + name in epochs.columns), None)
    if found is not None and epochs[found].dtype.is_numeric():
        known = epochs.select("run_id", "epoch", pl.col(found).cast(pl.Float64).alias("value"))
        return known.filter(pl.col("value").is_finite())
    if name == "energy_density":
        return _table(_density(settings, runs))
    if name == "noise_scale":
        parts = [_measure(settings, f"noise/{part}_mean", runs) for part in ("variance", "signal")]
        both = parts[0].join(parts[1], on=["run_id", "epoch"]).filter(pl.col("value_right") > 0)
        return both.select("run_id", "epoch", pl.col("value") / pl.col("value_right"))
    column, mean = _step_column(settings, name)
    return _table(_averaged(settings, column, mean, runs))


def _step_column(settings: Settings, name: str) -> tuple[str, str]:
    """The column of the steps and the kind of mean that a name asks for."""
    steps = settings.runs.steps
    mean = next((m for m in MEANS if name.endswith(m)), "")
    stem = name.removesuffix(mean) if mean else name
    column = next((p + stem for p in PREFIXES if p + stem in steps.columns), None)
    if not mean or column is None:
        known = available(settings)
        near = get_close_matches(name, [*known, *(k.rpartition("/")[2] for k in known)], n=3, cutoff=0.5)
        raise AnalysisError(
            f"reading the measure {name!r} of {settings.describe()}: neither epochs nor steps give it"
            + (f"; near: {', '.join(near)}" if near else f"; recorded: {', '.join(known) or 'nothing'}")
        )
    return column, mean


def _table(rows: Iterator[tuple[str, int, float]]) -> pl.DataFrame:
    schema = {"run_id": pl.String, "epoch": pl.Int64, "value": pl.Float64}
    return pl.DataFrame(list(rows), schema=schema, orient="row").filter(pl.col("value").is_finite())


def _averaged(
    settings: Settings, column: str, mean: str, runs: list[str]
) -> Iterator[tuple[str, int, float]]:
    for run_id in runs:
        steps = settings.runs.steps.filter(pl.col("run_id") == run_id)
        yield from _means(settings, run_id, steps, steps[column].cast(pl.Float64).to_numpy(), mean)


def _recomputed(
    settings: Settings, name: str, rule: str, runs: list[str]
) -> Iterator[tuple[str, int, float]]:
    mean = next((m for m in MEANS if name in (f"cond{m}", f"fisher/cond{m}")), None)
    if mean is None:
        raise AnalysisError(
            f"recomputing {name!r} by the rule {rule!r}: expected cond_mean, cond_geomean or cond_median"
        )
    measures.parse_rule(rule)
    stored = 0
    for run_id in runs:
        steps = settings.runs.steps.filter(pl.col("run_id") == run_id)
        spectra = settings.runs.spectra(run_id)
        stored += sum(values is not None for values in spectra)
        limits = steps["fisher/cond_limit"].to_list() if "fisher/cond_limit" in steps.columns else []
        conds = [_cond(values, rule, limits[k] if limits else None) for k, values in enumerate(spectra)]
        yield from _means(settings, run_id, steps, np.array(conds, dtype=np.float64), mean)
    if not stored:
        raise AnalysisError(
            f"recomputing {name}@{rule} of {settings.describe()}: no spectra are stored; measure with "
            "fs.Monitor(…, run=run), or give log_step the eigenvalues"
        )


def _cond(eigenvalues: "np.ndarray[Any, Any] | None", rule: str, limit: float | None) -> float:
    """c_k of a stored spectrum, above the rounding floor that its row tells."""
    if eigenvalues is None or not len(eigenvalues):
        return np.nan
    floor = float(eigenvalues.max()) / limit**2 if limit else 0.0
    return measures.cond(eigenvalues, rule, floor)


def _means(
    settings: Settings, run_id: str, steps: pl.DataFrame, values: FloatArray, mean: str
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
    for epoch, step in _boundaries(settings, run_id):
        seen = int(np.searchsorted(number, step, side="left"))  # step k is done once k + 1 steps are
        if not seen:
            continue
        if mean == "_last":
            yield run_id, epoch, float(values[seen - 1])
        elif mean == "_median":
            yield run_id, epoch, measures.weighted_median(values[:seen].tolist(), weights[:seen].tolist())
        else:
            average = float(sums[seen - 1] / total[seen - 1])
            yield run_id, epoch, float(np.exp(average)) if mean == "_geomean" else average


def _density(settings: Settings, runs: list[str]) -> Iterator[tuple[str, int, float]]:
    """L_K/S_K with S_K = Σ α/sqrt(|B|) over all steps."""
    known = {row[0]: row for row in settings.frame.select("run_id", "batch_size", "lr").iter_rows()}
    energies = _measure(settings, ENERGY, runs)
    for run_id in runs:
        epochs = settings.runs.epochs.filter(pl.col("run_id") == run_id)
        steps = settings.runs.steps.filter(pl.col("run_id") == run_id)
        mine = dict(energies.filter(pl.col("run_id") == run_id).select("epoch", "value").iter_rows())
        for row in epochs.iter_rows(named=True):
            scale = row.get("step_scale_sum")
            if scale is None and "step_scale_sum" in steps.columns and row.get("step"):
                scale = _scale_at(steps, float(row["step"]))
            elif scale is None and run_id in known and known[run_id][1] and row.get("lr_sum"):
                scale = row["lr_sum"] / float(known[run_id][1]) ** 0.5
            if scale and row["epoch"] in mine:
                yield run_id, int(row["epoch"]), mine[row["epoch"]] / scale


def _scale_at(steps: pl.DataFrame, step: float) -> float:
    """S at a step, on the line through the measured ones; beyond the last, by the last slope."""
    seen = steps.select(pl.col("step") + 1, "step_scale_sum").drop_nulls().to_numpy().astype(np.float64)
    if not len(seen):
        return 0.0
    if step <= seen[-1, 0] or len(seen) < 2:
        return float(np.interp(step, seen[:, 0], seen[:, 1]))
    slope = (seen[-1, 1] - seen[-2, 1]) / (seen[-1, 0] - seen[-2, 0])
    return float(seen[-1, 1] + slope * (step - seen[-1, 0]))


def _boundaries(settings: Settings, run_id: str) -> list[tuple[int, int]]:
    """(epoch, steps done) of a run's epochs."""
    epochs = settings.runs.epochs.filter(pl.col("run_id") == run_id)
    if "step" not in epochs.columns:
        return []
    return [(int(e), int(s)) for e, s in epochs.select("epoch", "step").drop_nulls().iter_rows()]


def _column(frame: pl.DataFrame, name: str, missing: float) -> FloatArray:
    if name not in frame.columns:
        return np.full(len(frame), missing)
    values: FloatArray = frame[name].cast(pl.Float64).fill_null(missing).to_numpy()
    return values
