"""Final metrics from early epochs: the predictors that are compared, and which run to finish next."""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from fisherscope.analysis.data.run_measures import COND, ENERGY, measure
from fisherscope.analysis.data.setting_grid import SettingGrid, seed_mean
from fisherscope.analysis.data.settings import FloatArray
from fisherscope.analysis.errors import AnalysisError
from fisherscope.analysis.stats.gaussian_process import GaussianProcess

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

WITHOUT, WITH = "metric+grid", "metric+grid+measures"
"""The two whose difference is the headline: what (C̄_K, L_K) add (docs/evidence.md, rule 4)."""

FEWEST = 3
"""Finished settings that a prediction needs."""


@dataclass(frozen=True)
class LearningCurves:
    """What was recorded of a grid, epoch by epoch; logarithms, smaller is better.

    Args:
        grid: The settings.
        values: Feature → shape (n, s, E + 1), index 2 the epoch, NaN where it is missing.
        final: Metric at the end, shape (n, s); inf where the run diverged, NaN where it has not ended.
        smaller: Whether smaller metrics are better; others are held negated.
        logarithmic: Whether metrics are logarithms (they are where all are positive and smaller is better).
        seconds: A training epoch, shape (n,); NaN where no time was recorded.
    """

    grid: SettingGrid
    values: dict[str, FloatArray]
    final: FloatArray
    smaller: bool
    logarithmic: bool
    seconds: FloatArray

    @classmethod
    def of(cls, grid: SettingGrid, metric: str, smaller: bool) -> "LearningCurves":
        """Read a grid; measures that were not recorded are all NaN."""
        epochs = max(grid.source.planned, grid.source.last_epoch)
        raw = _by_epoch(grid, metric, epochs)
        logarithmic = smaller and bool(np.all(raw[np.isfinite(raw)] > 0))
        oriented = raw if smaller else -raw
        values = {"metric": _log(raw) if logarithmic else oriented}
        for name, column in (("train_loss", "train/loss"), ("cond", COND), ("energy", ENERGY)):
            values[name] = _log(_by_epoch(grid, column, epochs))
        timed = _by_epoch(grid, "time/train_s", epochs).reshape(len(grid), -1)
        seconds = np.array([_median(row) for row in timed])
        return cls(grid, values, _final(grid, values["metric"]), smaller, logarithmic, seconds)

    @property
    def epochs(self) -> int:
        """Length of the schedule."""
        return int(self.values["metric"].shape[2]) - 1

    def features(self, predictor: str, epoch: int, seeds: NDArray[np.intp] | None = None) -> FloatArray:
        """The predictor's features at an epoch, means over seeds, shape (n, d)."""
        columns = []
        for part in predictor.split("+"):
            if part == COORDINATES:
                columns += list(self.grid.coordinates.T)
            elif part == "ratio":
                columns.append(self.grid.coordinates[:, 1] - self.grid.coordinates[:, 0])
            else:
                columns += [self.early(name, epoch, seeds) for name in _recorded(part)]
        return np.column_stack(columns)

    def early(self, name: str, epoch: int, seeds: NDArray[np.intp] | None = None) -> FloatArray:
        """One recorded feature at an epoch, mean over seeds, shape (n,)."""
        values = self.values[name][:, :, epoch]
        return seed_mean(values if seeds is None else values[:, seeds])

    def truth(self, seed: int) -> FloatArray:
        """Mean final metric on the other seeds, shape (n,), smaller is better; lost runs as the worst one."""
        others = [k for k in range(len(self.grid.seeds)) if k != seed] or [seed]
        final = self.final[:, others]
        worst = float(self.final[np.isfinite(self.final)].max())
        values = self.shown(np.where(np.isinf(final), worst, final))
        return (1 if self.smaller else -1) * seed_mean(values)

    def held(self, values: FloatArray) -> FloatArray:
        """Metrics as `values` has them; the inverse of `shown`."""
        if self.logarithmic:
            return _log(values)
        return values if self.smaller else -values

    def shown(self, values: FloatArray) -> FloatArray:
        """Values as the metric has them."""
        if self.logarithmic:
            return np.exp(values)
        return values if self.smaller else -values


@dataclass(frozen=True)
class Forecast:
    """Expected final metric of every setting.

    Args:
        mean: Shape (n,); known values where known.
        std: Shape (n,); 0 where known.
    """

    mean: FloatArray
    std: FloatArray


def forecast(features: FloatArray, final: FloatArray, candidates: NDArray[np.bool_]) -> Forecast:
    """Predict what is not known from what is.

    Args:
        features: Shape (n, d).
        final: Shape (n,): known metrics; NaN not known, inf diverged.
        candidates: Those to predict; the others stay NaN.

    Raises:
        AnalysisError: Fewer than `FEWEST` are known.
    """
    usable = candidates & np.isfinite(features).all(axis=1)
    known = usable & np.isfinite(final)
    if known.sum() < FEWEST:
        raise AnalysisError(
            f"predicting final metrics: {int(known.sum())} are known; at least {FEWEST} are needed"
        )
    process = GaussianProcess.fit(features[known], final[known], features[usable])
    mean, std = np.full(len(final), math.nan), np.full(len(final), math.nan)
    mean[usable], std[usable] = process.predict(features[usable])
    there = np.isfinite(final)
    mean[there], std[there] = final[there], 0.0
    return Forecast(mean, std)


def expected_improvement(mean: FloatArray, std: FloatArray, best: float) -> FloatArray:
    """How much lower than `best` settings are expected to come out, shape (n,); 0 where that is not known."""
    gap, spread = np.where(np.isfinite(mean), best - mean, -1e3), np.maximum(np.nan_to_num(std), 1e-12)
    value: FloatArray = gap * stats.norm.cdf(gap / spread) + spread * stats.norm.pdf(gap / spread)
    return np.where(np.isfinite(mean), np.maximum(value, 0.0), 0.0)


def next_setting(
    features: FloatArray, final: FloatArray, candidates: NDArray[np.bool_], early: FloatArray | None
) -> int | None:
    """The setting whose end would tell most: spread among the promising first, then expected improvement.

    Args:
        features: Shape (n, d).
        final: Shape (n,): known metrics; NaN not known, inf diverged.
        candidates: Those that may be finished.
        early: An early figure that orders settings, smaller is better; None where a predictor has none.
    """
    open_ = candidates & np.isnan(final) & np.isfinite(features).all(axis=1)
    if not open_.any():
        return None
    known = np.isfinite(final) & np.isfinite(features).all(axis=1)
    if known.sum() >= FEWEST:
        found = forecast(features, final, candidates | known)
        gain = expected_improvement(found.mean, found.std, float(final[known].min()))
        return int(np.argmax(np.where(open_, np.nan_to_num(gain + 1e-9 * found.std), -1.0)))
    scaled = (features - features[open_].mean(axis=0)) / np.maximum(features[open_].std(axis=0), 1e-12)
    if not known.any():
        order = early if early is not None else np.sum(scaled**2, axis=1)
        return int(np.argmin(np.where(open_ & np.isfinite(order), order, np.inf)))
    promising = open_
    if early is not None:
        promising = open_ & (early <= np.median(early[open_]))
        promising = promising if promising.any() else open_
    apart = np.sqrt(((scaled[:, None] - scaled[known][None]) ** 2).sum(axis=-1)).min(axis=1)
    return int(np.argmax(np.where(promising, apart, -1.0)))


def ordering(predictor: str) -> str | None:
    """The early feature of a predictor that orders settings by itself."""
    parts = predictor.split("+")
    return next((name for name in ("metric", "train_loss") if name in parts), None)


def left_out_error(features: FloatArray, final: FloatArray) -> float:
    """Root mean square error of each known metric predicted from the others; NaN below five of them."""
    known = np.flatnonzero(np.isfinite(final) & np.isfinite(features).all(axis=1))
    if len(known) < FEWEST + 2:
        return math.nan
    errors = []
    for k in known:
        rest = known[known != k]
        mean, _ = GaussianProcess.fit(features[rest], final[rest], features[known]).predict(features[[k]])
        errors.append(mean[0] - final[k])
    return float(np.sqrt(np.mean(np.square(errors))))


def _recorded(part: str) -> tuple[str, ...]:
    return ("cond", "energy") if part == MEASURES else (part,)


def _by_epoch(grid: SettingGrid, name: str, epochs: int) -> FloatArray:
    """A measure by setting, seed and epoch; all NaN where it was not recorded."""
    out = np.full((len(grid), len(grid.seeds), epochs + 1), math.nan)
    try:
        found = grid.source.frame.join(measure(grid.source, name), on="run_id", how="inner")
    except AnalysisError:
        return out
    row = {name: k for k, name in enumerate(grid.names)}
    column = {seed: k for k, seed in enumerate(grid.seeds)}
    for setting, seed, epoch, value in found.select("setting", "seed", "epoch", "value").iter_rows():
        if epoch <= epochs:
            out[row[setting], column[seed], epoch] = value
    return out


def _final(grid: SettingGrid, metric: FloatArray) -> FloatArray:
    """The last metric of finished runs, inf of diverged ones."""
    out = np.full(metric.shape[:2], math.nan)
    rows = grid.source.frame.filter(pl.col("status").is_in(["finished", "diverged"]))
    for setting, seed, status, reached in rows.select("setting", "seed", "status", "reached").iter_rows():
        place = grid.names.index(setting), grid.seeds.index(seed)
        out[place] = math.inf if status == "diverged" else metric[place][min(reached, metric.shape[2] - 1)]
    return out


def _median(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else math.nan


def _log(values: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(values > 0, np.log(values), math.nan)
