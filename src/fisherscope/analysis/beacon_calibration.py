"""Finished fixed runs as beacons: what `BeaconPolicy` steers by, read from a directory of runs."""

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
"""Runs differ by 5 % at least: two or three seeds may by chance agree better than that."""
TRANSFERRED = 3.0
"""Beacons of a related task say that much less: their runs' spread is multiplied by it."""
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
) -> Beacons:
    """Growth at each batch size, the optimum region and the cost model, from finished fixed runs.

    Args:
        runs: From `load_runs`, or a directory.
        seconds: Of a step, by batch size; sizes between are interpolated.
        axis: Mean of a key of the monitor's rows: `effective_rank_mean`, `cond_geomean`, `cond_mean`, …
        metric: What the region is the best of; by default the validation metric.
        task: Whose runs, where there are several.
        meant_for: The task to be steered, if it is another one.
        samples: Samples in its epochs, if they are others.
        across: Whether beacons of another architecture may be used.
        sizes: That may be used; by default all that have beacons, up to the data.
        tour: Sizes by which a run learns growth itself, an epoch each; of the beacons the region is kept.
        chance: As for `Beacons`.

    Raises:
        AnalysisError: Too few runs, none in the region, schedules that differ, or another architecture.
    """
    source = settings_of(runs, task=task).fixed()
    source = source.where(pl.col("status") == "finished", pl.col("reached") == pl.col("planned"))
    if source.frame["batch_size"].n_unique() < 2:
        raise AnalysisError(
            f"making beacons of {source.describe()}: {source.frame['batch_size'].n_unique()} batch sizes "
            "have finished fixed runs, expected at least 2; train more, such as --batch-sizes 8,32,128"
        )
    target = meant_for or source.task
    _related(source.task, target, across)
    rate, own = _schedule(source), _samples(source)
    curves = [curve for row in source.frame.iter_rows(named=True) for curve in _curve(source, axis, row)]
    if not curves:
        there = ", ".join(name for name in sorted(source.steps.columns) if name.startswith("fisher/"))
        raise AnalysisError(
            f"making beacons of {source.describe()}: no measured step has what axis={axis!r} is the mean of; "
            f"they have {there or 'nothing'}; where this is an export give the directory of runs, or "
            "axis='cond_geomean' (--axis)"
        )
    made = _beacons(curves)
    spreads = [_spread(curves, k, TRANSFERRED if target != source.task else 1.0) for k in (0, 1)]
    sizes = _sizes(source, {b.batch_size for b in made}, sizes, samples or own)
    return Beacons(
        source.task, target, samples or own, rate.epochs, rate.milestones, rate.factor, axis, sizes,
        _interpolated(seconds, sizes), _region(source, axis, metric, (samples or own) / own),
        () if tour else made, spreads[0], spreads[1], tour, chance,
    )  # fmt: skip


def _sizes(source: Settings, known: set[int], wanted: tuple[int, ...], samples: int) -> tuple[int, ...]:
    """Those asked for, or all that fit into the data."""
    unknown = set(wanted) - known
    if unknown:
        raise AnalysisError(
            f"making beacons of {source.describe()}: no runs of batch sizes {sorted(unknown)}; there are "
            f"{sorted(known)}"
        )
    return tuple(sorted(wanted or {size for size in known if size <= samples}))


@dataclass(frozen=True)
class _Curve:
    """One run's logarithms of means by part (NaN where nothing was measured) and its spread around them."""

    batch_size: int
    lr: float
    means: FloatArray  # (2, parts): of the axis's measure, averaged as the axis is; of the density
    noise: FloatArray  # (2,): variance of a measurement's logarithm around its part's


def _related(task: str, target: str, across: bool) -> None:
    """Say what is risked where beacons are another task's; refuse another architecture unless asked for."""
    if task == target:
        return
    same = task.rpartition("/")[2] == target.rpartition("/")[2]
    if not same and not across:
        raise AnalysisError(
            f"making beacons of {task} for {target}: another architecture; {COUNTER_EVIDENCE}. Train beacons "
            f"of {target}, or take the risk by across=True (--across)"
        )
    warnings.warn(
        f"beacons of {task} are to steer {target}: the region need not be the same; {COUNTER_EVIDENCE}",
        stacklevel=3,
    )


def _schedule(source: Settings) -> Rate:
    """The learning-rate levels of all runs, which must be the same."""
    table = source.runs.runs.filter(pl.col("run_id").is_in(source.frame["run_id"].to_list()))
    names = table["policy"] if "policy" in table.columns else pl.Series([None] * len(table))
    found = {
        replace(parse(name or "s32", lr=float(lr), epochs=int(epochs)).rate, lr=1.0)
        for name, lr, epochs in zip(names, table["lr"], table["epochs"], strict=True)
    }
    if len(found) != 1:
        raise AnalysisError(
            f"making beacons of {source.describe()}: they have {len(found)} different schedules (epochs, "
            "learning-rate levels); expected one, for the region is that of one budget"
        )
    return found.pop()


def _samples(source: Settings) -> int:
    """Samples in an epoch of the runs."""
    first = source.epochs.filter(pl.col("epoch") == 1)
    counts = set(first["samples"].to_list()) if "samples" in first.columns else set()
    if len(counts) != 1:
        raise AnalysisError(
            f"making beacons of {source.describe()}: their epochs have {sorted(counts) or 'unknown numbers'} "
            "of samples; expected one number"
        )
    return int(counts.pop())


def _curve(source: Settings, axis: str, row: Mapping[str, object]) -> Iterator[_Curve]:
    """The run's curve; none where no whole batch was measured."""
    stem = axis.rpartition("_")[0]
    column = stem if "/" in stem else f"fisher/{stem}"
    steps = source.steps.filter(pl.col("run_id") == row["run_id"], pl.col("batch_size") == row["batch_size"])
    if column not in steps.columns:
        return
    density = pl.col("fisher/energy") * pl.col("batch_size").sqrt() / pl.col("lr")  # sqrt(Tr F̃/|B|)
    steps = steps.filter(pl.col(column) > 0, pl.col("fisher/energy") > 0)
    if not len(steps):
        return
    logs = np.log(steps.select(column, density).to_numpy().T)
    total = source.epochs.filter(pl.col("run_id") == row["run_id"])["step"].max()
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
    """A beacon a setting: the mean over its runs, with holes filled along the run."""
    made = []
    for size, lr in sorted({(c.batch_size, c.lr) for c in curves}):
        mine = np.stack([c.means for c in curves if (c.batch_size, c.lr) == (size, lr)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a part that no run measured
            mean = np.nanmean(mine, axis=0)
        cond, density = (np.exp(_filled(line)).tolist() for line in mean)
        made.append(Beacon(size, lr, tuple(cond), tuple(density)))
    return tuple(made)


def _filled(line: FloatArray) -> FloatArray:
    known = np.flatnonzero(np.isfinite(line))
    return np.interp(np.arange(len(line)), known, line[known])


def _spread(curves: list[_Curve], kind: int, factor: float) -> Spread:
    """How far whole runs lie from their setting's mean, and single measurements from their part's.

    Medians over settings: those near divergence differ wildly from seed to seed. The median of a variance
    from n runs lies below the variance itself: by (1 − 2/(9(n − 1)))³ (Wilson & Hilferty 1931).
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
    """Where the settings ended; L in proportion to the steps of the task that is steered.

    Inside are those within the margin of the best and the paper's five best: of a few noisy validation errors
    the very best is by chance one or the other. In small sweeps these are a quarter of the settings at most.
    """
    plane = landscape(source.runs, x=axis, y=ENERGY, metric=metric, task=source.task or None)
    points, best = plane.mapped, plane.best["setting"].head(len(plane.mapped) // 4)
    inside = pl.col("in_region") | pl.col("setting").is_in(best.to_list())
    rows = points.select("setting", "x", "y", inside).iter_rows()
    return tuple(Place(name, float(x), float(y) * more, bool(inside)) for name, x, y, inside in rows)


def _interpolated(seconds: Mapping[int, float], sizes: tuple[int, ...]) -> tuple[float, ...]:
    """Seconds a step at each size, on the lines between those measured; beyond, in proportion to the last."""
    known = sorted(seconds)
    if not known:
        raise AnalysisError("making beacons: the cost model is empty; measure seconds a step at some sizes")
    found = np.interp(sizes, known, [seconds[size] for size in known])
    beyond = np.maximum(np.array(sizes) / known[-1], 1.0)
    return tuple(float(value) for value in found * beyond)
