"""Calibrate `BeaconPolicy` from finished runs: growth, optimum region and cost."""

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from fisherscope.analysis.data.run_measures import ENERGY
from fisherscope.analysis.data.settings import FloatArray, RunsLike, Settings, settings_of
from fisherscope.analysis.errors import AnalysisError
from fisherscope.analysis.landscapes.plane import landscape
from fisherscope.policy import Beacon, Beacons, Place, Rate, Spread, parse
from fisherscope.policy.beacon.calibration import PARTS

LEAST_SPREAD = 0.05
"""Least relative spread of runs: two or three seeds may agree better than that by chance."""
TRANSFERRED = 3.0
"""Factor on the spread of runs for beacons of a related task."""
COUNTER_EVIDENCE = (
    "the best |B| × α moved with data and architecture in the paper that proposed this: 8–32 × 0.025–0.1 on "
    "CIFAR, 16–128 × 0.025–0.1 on SVHN, and on MNIST 4–16 × 0.0125–0.1 for ResNet-8 but 16–64 × 0.1–0.4 for "
    "DenseNet-8"
)


def beacons_of(
    runs: RunsLike,
    seconds: Mapping[int, float],
    *,
    axis: str = "effective_rank_mean",
    metric: str | None = None,
    task: str | None = None,
    meant_for: str | None = None,
    samples: int | None = None,
    across: bool = False,
    sizes: tuple[int, ...] = (),
    tour: tuple[int, ...] = (),
    chance: float = 0.7,
    rates: tuple[float, ...] = (1.0,),
) -> Beacons:
    """Read growth per batch size, the optimum region and the cost model from finished runs.

    Args:
        runs: From `load_runs`, or a directory.
        seconds: Seconds per step by batch size; sizes between are interpolated.
        axis: Mean of a key of the monitor's rows: `effective_rank_mean`, `cond_geomean`, `cond_mean`, …
        metric: Metric that defines the region; the validation metric by default.
        task: Task, if the runs are of several.
        meant_for: The task to be steered, if it is another one.
        samples: Samples in its epochs, if they are others.
        across: Whether beacons of another architecture may be used.
        sizes: Batch sizes that may be used; by default all that have beacons, up to the data.
        tour: Batch sizes by which a run estimates growth itself, an epoch each; of the beacons only the
            region is used.
        chance: As for `Beacons`.
        rates: Multipliers of the learning rate that the policy may use, as for `Beacons`.

    Returns:
        The calibration; `to_json` gives the file of `beacon:FILE`.

    Raises:
        AnalysisError: Too few runs, none in the region, schedules that differ, or another architecture.

    Example:
        ```python
        import fisherscope as fs
        from fisherscope import analysis

        for size in (8, 16):
            for lr in (0.05, 0.1):
                config = {"task": "mine", "policy": f"s{size}", "lr": lr, "epochs": 1, "seed": 0}
                with fs.open_run(f"runs/beacons/s{size}-lr{lr}", config) as run:
                    row = {"step": 0, "lr": lr, "batch_size": size, "fisher/effective_rank": 5.0}
                    run.log_step({**row, "fisher/energy": 1.0})
                    run.log_epoch(step=64 // size, samples=64, val_error=0.1 / size, fisher_energy_sum=9.0)
        print(analysis.beacons_of("runs/beacons", {8: 0.001, 16: 0.0015}).sizes)
        ```
    """
    source = settings_of(runs, task=task).fixed()
    source = source.where(pl.col("status") == "finished", pl.col("reached") == pl.col("planned"))
    if source.frame["batch_size"].n_unique() < 2:
        raise AnalysisError(
            f"making beacons of {source.describe()}: {source.frame['batch_size'].n_unique()} batch sizes "
            "have finished fixed runs, expected at least 2; train more, such as --batch-sizes 8,32,128"
        )
    target = meant_for or source.task
    _check_related(source.task, target, across)
    rate, own_samples = _schedule(source), _samples(source)
    curves = [curve for row in source.frame.iter_rows(named=True) for curve in _curve(source, axis, row)]
    if not curves:
        there = ", ".join(name for name in sorted(source.steps.columns) if name.startswith("fisher/"))
        raise AnalysisError(
            f"making beacons of {source.describe()}: no measured step has the column of axis={axis!r}; "
            f"they have {there or 'nothing'}; if this is an export give the directory of runs, or "
            "axis='cond_geomean' (--axis)"
        )
    beacons = _beacons(curves)
    spreads = [_spread(curves, k, TRANSFERRED if target != source.task else 1.0) for k in (0, 1)]
    sizes = _sizes(source, {b.batch_size for b in beacons}, sizes, samples or own_samples)
    return Beacons(
        source.task, target, samples or own_samples, rate.epochs, rate.milestones, rate.factor, axis, sizes,
        _step_seconds(seconds, sizes), _region(source, axis, metric, (samples or own_samples) / own_samples),
        () if tour else beacons, spreads[0], spreads[1], tour, chance, rates,
    )  # fmt: skip


def _sizes(source: Settings, available: set[int], wanted: tuple[int, ...], samples: int) -> tuple[int, ...]:
    """Return the batch sizes that were requested, or all that fit into the data."""
    unknown = set(wanted) - available
    if unknown:
        raise AnalysisError(
            f"making beacons of {source.describe()}: no runs of batch sizes {sorted(unknown)}; there are "
            f"{sorted(available)}"
        )
    return tuple(sorted(wanted or {size for size in available if size <= samples}))


@dataclass(frozen=True)
class _Curve:
    """One run's log means by part (NaN if nothing was measured) and the spread around them."""

    batch_size: int
    lr: float
    means: FloatArray  # (2, parts): of the axis's measure, averaged as the axis is; of the density
    noise: FloatArray  # (2,): variance of a measurement's logarithm around its part's


def _check_related(task: str, target: str, across: bool) -> None:
    """Warn if the beacons are another task's; refuse another architecture."""
    if task == target:
        return
    same = task.rpartition("/")[2] == target.rpartition("/")[2]
    if not same and not across:
        raise AnalysisError(
            f"making beacons of {task} for {target}: another architecture; {COUNTER_EVIDENCE}. Train beacons "
            f"of {target}, or accept the risk by across=True (--across)"
        )
    warnings.warn(
        f"beacons of {task} will steer {target}: its region may be another; {COUNTER_EVIDENCE}",
        stacklevel=3,
    )


def _schedule(source: Settings) -> Rate:
    """Return the learning-rate levels of all runs, which must be the same."""
    table = source.runs.runs.filter(pl.col("run_id").is_in(source.frame["run_id"].to_list()))
    names = table["policy"] if "policy" in table.columns else pl.Series([None] * len(table))
    schedules = {
        replace(parse(name or "s32", lr=float(lr), epochs=int(epochs)).rate, lr=1.0)
        for name, lr, epochs in zip(names, table["lr"], table["epochs"], strict=True)
    }
    if len(schedules) != 1:
        raise AnalysisError(
            f"making beacons of {source.describe()}: they have {len(schedules)} different schedules (epochs, "
            "learning-rate levels); expected one, because the region depends on the budget"
        )
    return schedules.pop()


def _samples(source: Settings) -> int:
    """Return the samples in an epoch of the runs."""
    first = source.epochs.filter(pl.col("epoch") == 1)
    counts = set(first["samples"].to_list()) if "samples" in first.columns else set()
    known = sorted(count for count in counts if count is not None and 1 <= count < math.inf)
    if len(counts) != 1 or not known:
        raise AnalysisError(
            f"making beacons of {source.describe()}: their epochs have {known or 'unknown numbers'} "
            "of samples; expected one number"
        )
    return int(known[0])


def _curve(source: Settings, axis: str, row: Mapping[str, object]) -> Iterator[_Curve]:
    """Yield the run's curve; none if no whole batch was measured."""
    stem = axis.rpartition("_")[0]
    column = stem if "/" in stem else f"fisher/{stem}"
    if not {column, "batch_size", "lr", "step", "fisher/energy"} <= set(source.steps.columns):
        return
    if not source.steps.schema[column].is_numeric() or "step" not in source.epochs.columns:
        return
    steps = source.steps.filter(pl.col("run_id") == row["run_id"], pl.col("batch_size") == row["batch_size"])
    density = pl.col("fisher/energy") * pl.col("batch_size").sqrt() / pl.col("lr")  # sqrt(Tr F̃/|B|)
    steps = steps.filter(
        pl.col(column, "fisher/energy", "lr", "batch_size") > 0, pl.col("step").is_not_null()
    )
    total = source.epochs.filter(pl.col("run_id") == row["run_id"])["step"].max()
    if not len(steps) or not total:
        return
    logs = np.log(steps.select(column, density).to_numpy().T)
    share = (steps["step"].to_numpy() + 0.5) / float(str(total))
    part = np.clip((share * PARTS).astype(int), 0, PARTS - 1)
    means, noise = np.full((2, PARTS), np.nan), np.zeros(2)
    for k in set(part.tolist()):
        inside = logs[:, part == k]
        typical, summed = inside.mean(axis=1), np.log(np.exp(inside).mean(axis=1))
        means[:, k] = (typical if axis.endswith("_geomean") else summed)[0], summed[1]
        noise += ((inside - typical[:, None]) ** 2).sum(axis=1)
    freedom = max(len(part) - len(set(part.tolist())), 1)
    yield _Curve(int(str(row["batch_size"])), float(str(row["lr"])), means, noise / freedom)


def _beacons(curves: list[_Curve]) -> tuple[Beacon, ...]:
    """Average the runs of each setting into a beacon, with gaps interpolated."""
    beacons = []
    for size, lr in sorted({(c.batch_size, c.lr) for c in curves}):
        mine = np.stack([c.means for c in curves if (c.batch_size, c.lr) == (size, lr)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a part that no run measured
            mean = np.nanmean(mine, axis=0)
        cond, density = (np.exp(_fill_gaps(line)).tolist() for line in mean)
        beacons.append(Beacon(size, lr, tuple(cond), tuple(density)))
    return tuple(beacons)


def _fill_gaps(line: FloatArray) -> FloatArray:
    defined = np.flatnonzero(np.isfinite(line))
    return np.interp(np.arange(len(line)), defined, line[defined])


def _spread(curves: list[_Curve], kind: int, factor: float) -> Spread:
    """Return how far runs lie from their setting's mean, and measurements from their part's.

    Medians over settings: those near divergence differ wildly from seed to seed. The median of a variance
    from n runs lies below the variance itself: by (1 − 2/(9(n − 1)))³ (Wilson & Hilferty 1931).

    Returns:
        Spreads of the logarithm.
    """
    variances = []
    for setting in sorted({(c.batch_size, c.lr) for c in curves}):
        means = [float(np.nanmean(c.means[kind])) for c in curves if (c.batch_size, c.lr) == setting]
        if len(means) > 1:
            below = (1 - 2 / (9 * (len(means) - 1))) ** 3
            variances.append(float(np.var(means, ddof=1)) / below)
    run = math.sqrt(float(np.median(variances))) if variances else 0.0
    step = math.sqrt(float(np.median([c.noise[kind] for c in curves])))
    return Spread(factor * max(run, LEAST_SPREAD), max(step, LEAST_SPREAD))


def _region(source: Settings, axis: str, metric: str | None, more: float) -> tuple[Place, ...]:
    """Return the final positions of the settings, with L in proportion to the steps of the steered task.

    Inside are those within the margin of the best and the paper's five best: of a few noisy validation errors
    the very best is by chance one or the other. In small sweeps these are a quarter of the settings at most.

    Returns:
        An end point per setting.
    """
    plane = landscape(source.runs, x=axis, y=ENERGY, metric=metric, task=source.task or None)
    points, best = plane.surface_settings, plane.best["setting"].head(len(plane.surface_settings) // 4)
    inside = pl.col("in_region") | pl.col("setting").is_in(best.to_list())
    rows = points.select("setting", "x", "y", inside).iter_rows()
    return tuple(Place(name, float(x), float(y) * more, bool(inside)) for name, x, y, inside in rows)


def _step_seconds(seconds: Mapping[int, float], sizes: tuple[int, ...]) -> tuple[float, ...]:
    """Interpolate seconds per step at each size; beyond the last, in proportion to it."""
    sizes_measured = sorted(seconds)
    if not sizes_measured:
        raise AnalysisError("making beacons: the cost model is empty; measure seconds per step at some sizes")
    interpolation = np.interp(sizes, sizes_measured, [seconds[size] for size in sizes_measured])
    beyond = np.maximum(np.array(sizes) / sizes_measured[-1], 1.0)
    return tuple(float(value) for value in interpolation * beyond)
