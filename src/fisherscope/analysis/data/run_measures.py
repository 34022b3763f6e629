"""Read any measure of any run at any epoch, from epochs, measured steps or spectra.

Names: a column of the epoch rows (`fisher/cond_mean`, `val/error`; `fisher/` may be left out); a column of
the step rows with `_mean`, `_geomean`, `_median` (`effective_rank_mean`; each measurement weighted by the
steps it stands for) or `_last`; with `_mean_epochs`, `_geomean_epochs` (every epoch of equal weight: each
measurement weighted by the share of an epoch that it stands for);
`cond_mean@RULE`, recomputed by that non-zero rule (`cond_geomean@relative:1e-2`);
`energy_density`, L_K over its mechanical null Σ α/sqrt(|B|); `noise_scale`, the ratio of means;
`seconds`, modelled seconds of training (`cost_model`).
"""

import math
from collections.abc import Iterator
from difflib import get_close_matches

import numpy as np
import polars as pl

from fisherscope.analysis.data.credited_steps import credited_steps
from fisherscope.analysis.data.run_times import seconds_by_epoch
from fisherscope.analysis.data.setting_of_run import constant_sizes
from fisherscope.analysis.data.settings import FloatArray, Settings
from fisherscope.analysis.data.stored_spectra import conds
from fisherscope.analysis.errors import AnalysisError
from fisherscope.measures import parse_rule, weighted_median
from fisherscope.runs.reader import Runs

COND, ENERGY = "fisher/cond_mean", "fisher/energy_sum"
"""The paper's axes: C̄_K and L_K."""
BY_EPOCHS = "fisher/cond_mean_epochs"
"""C̄_K with every epoch of equal weight, as the text of eq. 7 counts."""

PREFIXES = ("", "fisher/", "noise/", "gradient/", "test/", "time/")
MEANS = ("_mean_epochs", "_geomean_epochs", "_mean", "_geomean", "_median", "_last")
ALIASES = {"C": COND, "L": ENERGY, "cond": COND, "energy": ENERGY}


def measure(settings: Settings, name: str) -> pl.DataFrame:
    """Read a measure at every epoch of every run.

    Args:
        settings: Runs.
        name: As above.

    Returns:
        `run_id, epoch, value`; undefined values are left out.

    Raises:
        AnalysisError: Nothing recorded gives this measure; the text names what there is.
    """
    if name not in settings.cache:
        settings.cache[name] = measure_of_runs(settings.runs, name)
    run_ids = settings.frame["run_id"].to_list()
    return settings.cache[name].filter(pl.col("run_id").is_in(run_ids))


def at_epoch(settings: Settings, name: str, epoch: int | None = None) -> pl.DataFrame:
    """Read a measure at one epoch.

    Args:
        settings: Runs.
        name: As above.
        epoch: The epoch; None is each run's last.

    Returns:
        `run_id, value`.

    Raises:
        AnalysisError: Nothing recorded gives this measure.
    """
    values = measure(settings, name)
    if epoch is None:
        return values.sort("epoch").group_by("run_id", maintain_order=True).agg(pl.col("value").last())
    return values.filter(pl.col("epoch") == epoch).select("run_id", "value")


def measure_of_runs(runs: Runs, name: str) -> pl.DataFrame:
    """Read a measure of runs that are not grouped as settings.

    Args:
        runs: Runs.
        name: As above.

    Returns:
        `run_id, epoch, value`.

    Raises:
        AnalysisError: Nothing recorded gives this measure.
        ValueError: There is no such rule.
    """
    name = ALIASES.get(name, name)
    head, _, rule = name.partition("@")
    if rule:
        parse_rule(rule)
    exported = runs.measures
    if name in exported.columns:
        values = _finite(exported.select("run_id", "epoch", pl.col(name).cast(pl.Float64).alias("value")))
        run_ids = set(runs.epochs["run_id"].to_list())  # a run that ended in its first epoch has no measure
        others = run_ids - set(exported["run_id"].to_list())
        if not others:
            return values
        rest = _measure(runs.filter(pl.col("run_id").is_in(others)), name, head, rule)
        return pl.concat([values, rest])
    return _measure(runs, name, head, rule)


def available(settings: Settings) -> list[str]:
    """Return the names that `measure` takes, without those that name a rule."""
    return _available(settings.runs)


def _available(runs: Runs) -> list[str]:
    epochs, steps = runs.epochs, runs.steps
    from_epochs = [c for c, kind in epochs.schema.items() if kind.is_numeric() and c not in ("epoch", "step")]
    from_steps = [f"{c}_mean" for c in steps.columns if "/" in c and steps.schema[c].is_numeric()]
    exported = [c for c in runs.measures.columns if c not in ("run_id", "epoch")]
    return list(dict.fromkeys([*from_epochs, *from_steps, *exported]))


def _measure(runs: Runs, name: str, head: str, rule: str) -> pl.DataFrame:
    if rule:
        return _table(_conds_by_rule(runs, head, rule))
    epochs = runs.epochs
    column = next((p + name for p in PREFIXES if p + name in epochs.columns), None)
    if column is not None and epochs[column].dtype.is_numeric():
        values = _finite(epochs.select("run_id", "epoch", pl.col(column).cast(pl.Float64).alias("value")))
        return pl.concat([values, _earlier_runs(runs, name, values)])
    if name == "seconds" and len(seconds := seconds_by_epoch(runs)):
        return _finite(seconds)
    if name == "energy_density":
        return _table(_density(runs))
    if name == "noise_scale":
        parts = [measure_of_runs(runs, f"noise/{part}_mean") for part in ("variance", "signal")]
        both = parts[0].join(parts[1], on=["run_id", "epoch"]).filter(pl.col("value_right") > 0)
        return both.select("run_id", "epoch", pl.col("value") / pl.col("value_right"))
    column, mean = _step_column(runs, name)
    return _table(_running_means(runs, column, mean))


def _earlier_runs(runs: Runs, name: str, values: pl.DataFrame) -> pl.DataFrame:
    """Compute a mean by epochs of runs recorded before their rows had it, from their measured steps."""
    if not name.endswith("_epochs"):
        return values.clear()
    recorded = set(values["run_id"].to_list())
    others = [run_id for run_id in runs.runs["run_id"].to_list() if run_id not in recorded]
    try:
        rest = runs.filter(pl.col("run_id").is_in(others))
        return _table(_running_means(rest, *_step_column(rest, name)))
    except AnalysisError:
        return values.clear()


def _step_column(runs: Runs, name: str) -> tuple[str, str]:
    """Return the column of the steps and the kind of mean that a name asks for."""
    mean = next((m for m in MEANS if name.endswith(m)), "")
    stem = name.removesuffix(mean) if mean else name
    column = next((p + stem for p in PREFIXES if p + stem in runs.steps.columns), None)
    if not mean or column is None:
        names = _available(runs)
        near = get_close_matches(name, [*names, *(k.rpartition("/")[2] for k in names)], n=3, cutoff=0.5)
        raise AnalysisError(
            f"reading the measure {name!r} of {len(runs)} runs: neither the epochs nor the steps have it"
            + (f"; near: {', '.join(near)}" if near else f"; recorded: {', '.join(names) or 'nothing'}")
        )
    return column, mean


def _table(rows: Iterator[tuple[str, int, float]]) -> pl.DataFrame:
    schema = {"run_id": pl.String, "epoch": pl.Int64, "value": pl.Float64}
    return _finite(pl.DataFrame(list(rows), schema=schema, orient="row"))


def _finite(values: pl.DataFrame) -> pl.DataFrame:
    return values.filter(pl.col("value").is_finite())


def _running_means(runs: Runs, column: str, mean: str) -> Iterator[tuple[str, int, float]]:
    ends = _ends(runs)
    for (run_id,), steps in runs.steps.group_by("run_id", maintain_order=True):
        values = steps[column].cast(pl.Float64).fill_null(math.nan).to_numpy()
        yield from _means(str(run_id), ends, steps, values, mean)


def _conds_by_rule(runs: Runs, name: str, rule: str) -> Iterator[tuple[str, int, float]]:
    mean = next((m for m in MEANS if name in (f"cond{m}", f"fisher/cond{m}")), None)
    if mean is None:
        raise AnalysisError(
            f"recomputing {name!r} by the rule {rule!r}: expected cond_mean, cond_geomean, cond_median or "
            "cond_last"
        )
    count, ends = 0, _ends(runs)
    for run_id, steps, values in conds(runs, rule):
        count += 1
        yield from _means(run_id, ends, steps, values, mean)
    if not count:
        names = [c for c in runs.measures.columns if "@" in c]
        has = f"; this export keeps {', '.join(names)}" if names else ""
        raise AnalysisError(
            f"recomputing {name}@{rule} of {len(runs)} runs: no spectra are stored{has}; record with "
            "fs.Monitor(…, run=run), or give log_step the eigenvalues"
        )


def _means(
    run_id: str, ends: "dict[str, list[tuple[int, int]]]", steps: pl.DataFrame, values: FloatArray, mean: str
) -> Iterator[tuple[str, int, float]]:
    """Yield the running mean of measured values at the end of each epoch."""
    usable = np.isfinite(values) & (_column(steps, "steps_since", 1.0) > 0)
    rows, values = steps.filter(pl.Series(usable)), values[usable]
    if not len(values):
        return
    credits, geometric = credited_steps(rows), mean.startswith("_geomean")
    number, index = _column(rows, "step", 0.0), credits.rows.astype(np.intp)
    weights = credits.epochs if mean.endswith("_epochs") else credits.steps
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = (np.log(values) if geometric else values)[index]
    sums, total = np.cumsum(terms * weights), np.cumsum(weights)
    for epoch, step in ends.get(run_id, ()):
        count = int(np.searchsorted(credits.since, step, side="right"))
        if not count:
            continue
        if mean == "_last":
            yield run_id, epoch, float(values[np.searchsorted(number, step, side="left") - 1])
        elif mean == "_median":
            yield run_id, epoch, weighted_median(values[index[:count]].tolist(), weights[:count].tolist())
        elif total[count - 1] > 0:
            average = float(sums[count - 1] / total[count - 1])
            yield run_id, epoch, float(np.exp(average)) if geometric else average


def _density(runs: Runs) -> Iterator[tuple[str, int, float]]:
    """Yield L_K/S_K with S_K = Σ α/sqrt(|B|) over all steps."""
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
    """Interpolate S at a step; beyond the last measured one, continue its last slope."""
    points = steps.select(pl.col("step") + 1, "step_scale_sum").drop_nulls().to_numpy().astype(np.float64)
    if not len(points):
        return 0.0
    if step <= points[-1, 0] or len(points) < 2:
        return float(np.interp(step, points[:, 0], points[:, 1]))
    slope = (points[-1, 1] - points[-2, 1]) / (points[-1, 0] - points[-2, 0])
    return float(points[-1, 1] + slope * (step - points[-1, 0]))


def _ends(runs: Runs) -> dict[str, list[tuple[int, int]]]:
    """Return (epoch, steps done) of every run's epochs."""
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
