"""Learning curves of a sweep as arrays by setting, seed and epoch.

The first phase of `select`: what runs recorded, seen from an early epoch. No model is fitted here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fisherscope.analysis.data.compared_metric import is_share
from fisherscope.analysis.data.cost_estimation import cost_model, work_by_epoch
from fisherscope.analysis.data.cost_model import CostModel
from fisherscope.analysis.data.run_measures import COND, ENERGY, measure
from fisherscope.analysis.data.run_times import epoch_duration
from fisherscope.analysis.data.setting_grid import SettingGrid, seed_mean
from fisherscope.analysis.data.settings import FloatArray, RunsLike, Settings, settings_of
from fisherscope.analysis.errors import AnalysisError

MEASURES, COORDINATES = "measures", "grid"
PREDICTORS = (
    "grid",
    "ratio",
    "train_loss",
    "metric",
    "measures",
    "train_loss+grid",
    "metric+grid",
    "train_loss+grid+measures",
    "metric+grid+measures",
)
"""grid: (log B, log α), no measurement; ratio: log(α/B); metric: the early one; measures: log C̄, log L."""


@dataclass(frozen=True)
class LearningCurves:
    """Curves of a grid by setting, seed and epoch; logarithms, smaller is better.

    Args:
        grid: The settings.
        values: Feature → shape (n, s, E + 1), index 2 the epoch, NaN where it is missing.
        final: Metric at the end, shape (n, s); inf where the run diverged, NaN where it has not finished.
        smaller: Whether smaller metrics are better; others are negated in `values` and `final`.
        logarithmic: Whether metrics are logarithms (they are where all are positive and smaller is better).
        seconds: Modelled seconds of a training epoch, shape (n,); NaN where the seconds of a step are not
            known.
        steps: Steps of an epoch, shape (n,); NaN where they were not logged.
        model: The cost model behind `seconds`.
        share: Whether the metric is a share of the samples, between 0 and 1.
    """

    grid: SettingGrid
    values: dict[str, FloatArray]
    final: FloatArray
    smaller: bool
    logarithmic: bool
    seconds: FloatArray
    steps: FloatArray | None = None
    model: CostModel | None = None
    share: bool = False

    @classmethod
    def of(cls, grid: SettingGrid, metric: str, smaller: bool) -> "LearningCurves":
        """Read the curves of a grid; measures that were not recorded are all NaN."""
        epochs = max(grid.source.planned, grid.source.last_epoch)
        raw = _by_epoch(grid, metric, epochs)
        logarithmic = smaller and bool(np.all(raw[np.isfinite(raw)] > 0))
        values = {"metric": _log(raw) if logarithmic else raw if smaller else -raw}
        for name, column in (("train_loss", "train/loss"), ("cond", grid.x), ("energy", grid.y)):
            values[name] = _log(_by_epoch(grid, column, epochs))
        model = cost_model(grid.source.runs)
        steps, seconds = _epoch_costs(grid, model)
        final, share = _final(grid, values["metric"]), is_share(metric, raw)
        return cls(grid, values, final, smaller, logarithmic, seconds, steps, model, share)

    @property
    def epochs(self) -> int:
        """Length of the schedule."""
        return int(self.values["metric"].shape[2]) - 1

    def features(self, predictor: str, epoch: int, seeds: NDArray[np.intp] | None = None) -> FloatArray:
        """Return a predictor's features at an epoch, means over seeds, shape (n, d)."""
        columns = []
        for part in predictor.split("+"):
            if part == COORDINATES:
                columns += list(self.grid.coordinates.T)
            elif part == "ratio":
                columns.append(self.grid.coordinates[:, 1] - self.grid.coordinates[:, 0])
            else:
                names = ("cond", "energy") if part == MEASURES else (part,)
                columns += [self.feature(name, epoch, seeds) for name in names]
        return np.column_stack(columns)

    def feature(self, name: str, epoch: int, seeds: NDArray[np.intp] | None = None) -> FloatArray:
        """Return one of `values` at an epoch, mean over seeds, shape (n,)."""
        values = self.values[name][:, :, epoch]
        return seed_mean(values if seeds is None else values[:, seeds])

    @property
    def final_mean(self) -> FloatArray:
        """The mean final metric over seeds, (n,); inf if a seed diverged, NaN if none has finished."""
        diverged = np.isinf(self.final).any(axis=1)
        metric = self.as_metric(np.where(np.isinf(self.final), math.nan, self.final))
        return np.where(diverged, math.inf, self.from_metric(seed_mean(metric)))

    def final_of_other_seeds(self, seed: int) -> FloatArray:
        """Return the mean final metric of the other seeds, shape (n,), smaller is better.

        A run that diverged counts as the worst one that finished.
        """
        others = [k for k in range(len(self.grid.seeds)) if k != seed] or [seed]
        final = self.final[:, others]
        worst = float(self.final[np.isfinite(self.final)].max())
        values = self.as_metric(np.where(np.isinf(final), worst, final))
        return (1 if self.smaller else -1) * seed_mean(values)

    def from_metric(self, metric: FloatArray) -> FloatArray:
        """Transform metrics to the scale of `values`; the inverse of `as_metric`."""
        if self.logarithmic:
            return _log(metric)
        return metric if self.smaller else -metric

    def as_metric(self, values: FloatArray) -> FloatArray:
        """Transform values back to the metric's own scale."""
        if self.logarithmic:
            return np.exp(values)
        return values if self.smaller else -values


@dataclass(frozen=True)
class EarlyCurves:
    """A sweep at an early epoch and the final metrics so far: input of the surrogate.

    Args:
        epoch: The epoch.
        features: Predictor → its features, shape (n, d).
        early: `metric` and `train_loss` at the epoch, shape (n,) each.
        final: Mean final metric, shape (n,); inf if a seed diverged, NaN if none has finished.
        seed_finals: Final metric of each seed, shape (n, s).
    """

    epoch: int
    features: Mapping[str, FloatArray]
    early: Mapping[str, FloatArray]
    final: FloatArray
    seed_finals: FloatArray

    @property
    def candidates(self) -> NDArray[np.bool_]:
        """Settings that have not diverged, shape (n,)."""
        return ~np.isinf(self.final)


@dataclass(frozen=True)
class RecordedSweep:
    """The runs of `select`, their curves, and the early look at them; made by `load_sweep`.

    Args:
        source: All runs of the task.
        metric: Column of the epochs that settings are compared by.
        curves: Curves of the settings with a constant batch size.
        early: The curves at the early epoch.
    """

    source: Settings
    metric: str
    curves: LearningCurves
    early: EarlyCurves


def load_sweep(
    runs: RunsLike, metric: str | None, task: str | None, at_epoch: int | None, x: str = COND, y: str = ENERGY
) -> RecordedSweep:
    """Load the curves of a sweep, and look at them at an early epoch.

    Args:
        runs: From `load_runs`, or a directory.
        metric: Column of the epochs; the validation metric by default.
        task: Task, if the runs are of several.
        at_epoch: The early epoch; by default the last one that every candidate has reached.
        x: Measure in place of C̄_K.
        y: Measure in place of L_K.

    Returns:
        The runs, their curves, and the early look.

    Raises:
        AnalysisError: There is no run, no such metric, no constant batch size, or no run at the epoch.
    """
    source = settings_of(runs, task=task)
    name, smaller = source.metric(metric)
    grid = SettingGrid.of(source.fixed(), without_diverged=False, x=x, y=y)
    if not len(grid):
        raise AnalysisError(
            f"selecting among {source.describe()}: no setting has a constant batch size and a learning rate; "
            "schedules are compared by fisherscope table"
        )
    curves = LearningCurves.of(grid, name, smaller)
    epoch = _early_epoch(curves, at_epoch, source)
    features = {predictor: curves.features(predictor, epoch) for predictor in PREDICTORS}
    early = {feature: curves.feature(feature, epoch) for feature in ("metric", "train_loss")}
    early_curves = EarlyCurves(epoch, features, early, curves.final_mean, curves.final)
    return RecordedSweep(source, name, curves, early_curves)


def _early_epoch(curves: LearningCurves, at_epoch: int | None, source: Settings) -> int:
    """Return the epoch at which features are read."""
    candidates = ~np.isinf(curves.final).any(axis=1)
    there: NDArray[np.bool_] = np.asarray(np.isfinite(curves.values["metric"][candidates]).any(axis=1))
    if not there.any():
        return at_epoch or 0
    if at_epoch is not None:
        if not 0 < at_epoch < there.shape[1] or not there[:, at_epoch].any():
            epochs = np.flatnonzero(there.any(axis=0))
            raise AnalysisError(
                f"selecting at epoch {at_epoch} among {source.describe()}: no run has it; there are epochs "
                f"{epochs.min()} to {epochs.max()}"
            )
        return at_epoch
    everywhere = np.flatnonzero(there.all(axis=0))
    return int(everywhere[-1]) if len(everywhere) else int(np.flatnonzero(there.any(axis=0))[0])


def _by_epoch(grid: SettingGrid, name: str, epochs: int) -> FloatArray:
    """Return a measure by setting, seed and epoch; all NaN if it was not recorded."""
    out = np.full((len(grid), len(grid.seeds), epochs + 1), math.nan)
    try:
        rows = grid.source.frame.join(measure(grid.source, name), on="run_id", how="inner")
    except AnalysisError:
        return out
    row = {name: k for k, name in enumerate(grid.names)}
    column = {seed: k for k, seed in enumerate(grid.seeds)}
    for setting, seed, epoch, value in rows.select("setting", "seed", "epoch", "value").iter_rows():
        if epoch <= epochs:
            out[row[setting], column[seed], epoch] = value
    return out


def _final(grid: SettingGrid, metric: FloatArray) -> FloatArray:
    """Return the last metric of finished runs, inf for diverged ones, NaN for the others."""
    out = np.full(metric.shape[:2], math.nan)
    rows = grid.source.frame.filter(pl.col("status").is_in(["finished", "diverged"]))
    for setting, seed, status, reached in rows.select("setting", "seed", "status", "reached").iter_rows():
        place = grid.names.index(setting), grid.seeds.index(seed)
        out[place] = math.inf if status == "diverged" else metric[place][min(reached, metric.shape[2] - 1)]
    return out


def _epoch_costs(grid: SettingGrid, model: CostModel | None) -> tuple[FloatArray, FloatArray]:
    """Return steps and modelled seconds of an epoch of each setting: equal for equal batch sizes."""
    steps, seconds = (np.full(len(grid), math.nan) for _ in range(2))
    epochs = grid.source.epochs
    if not {"step", "samples"} <= set(epochs.columns):
        return steps, seconds
    sizes = grid.source.frame.select("run_id", pl.col("batch_size").alias("fixed_size"))
    rows = epochs.join(sizes, on="run_id", how="inner")
    for (size,), part in rows.group_by("fixed_size"):
        work = work_by_epoch(part)
        if not len(work):
            continue
        mine = grid.batch_sizes == float(str(size))
        steps[mine] = float(np.median(work["steps"].to_numpy()))
        seconds[mine] = math.nan if model is None else epoch_duration(model, part).seconds
    return steps, seconds


def _log(values: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(values > 0, np.log(values), math.nan)
