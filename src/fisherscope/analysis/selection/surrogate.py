"""Predict final metrics from early features, and say which run to finish next.

The second phase of `select`: arrays in, arrays out; nothing is read from runs.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fisherscope.analysis.data.setting_grid import seed_mean
from fisherscope.analysis.data.settings import FloatArray
from fisherscope.analysis.errors import AnalysisError
from fisherscope.analysis.selection.learning_curves import PREDICTORS, EarlyCurves
from fisherscope.analysis.stats.gaussian_process import GaussianProcess

WITHOUT_MEASURES, WITH_MEASURES = "metric+grid", "metric+grid+measures"
"""The two predictors whose difference is what (C̄_K, L_K) add."""

FEWEST = 3
"""Finished settings that a prediction needs."""


@dataclass(frozen=True)
class Forecast:
    """Expected final metric of every setting.

    Args:
        mean: Shape (n,); known values where known.
        std: Shape (n,); 0 where known.
    """

    mean: FloatArray
    std: FloatArray


@dataclass(frozen=True)
class Expectation:
    """What is expected of every setting's final metric; made by `fit_surrogate`.

    Args:
        predictor: Features that the surrogate was fitted to.
        mean: Shape (n,), in the scale of the learning curves; NaN if unknown.
        std: Shape (n,): of measured means by the spread of seeds, of predicted ones by the surrogate.
        state: `finished`, `predicted`, `diverged` or `unknown`, length n.
        next_setting: Index of the setting whose end is worth most; None if all have finished.
        notes: How the predictor was chosen, and why settings were not predicted.
    """

    predictor: str
    mean: FloatArray
    std: FloatArray
    state: tuple[str, ...]
    next_setting: int | None
    notes: tuple[str, ...]


def fit_surrogate(early: EarlyCurves, predictor: str) -> Expectation:
    """Predict the final metrics that are missing, and choose which setting to finish next.

    Args:
        early: Early features and known final metrics.
        predictor: One of `PREDICTORS`, or `auto`.

    Returns:
        Expected final metrics of every setting.

    Raises:
        AnalysisError: There is no such predictor.
    """
    if predictor != "auto" and predictor not in PREDICTORS:
        raise AnalysisError(
            f"selecting by predictor={predictor!r}: expected one of auto, {', '.join(PREDICTORS)}"
        )
    predictor, note = _choose_predictor(early) if predictor == "auto" else (predictor, "")
    notes = [note] if note else []
    features, final = early.features[predictor], early.final
    training = np.isfinite(final) & np.isfinite(features).all(axis=1)
    deviation = _seed_deviation(early.seed_finals)
    mean, std = final.copy(), np.where(np.isnan(final), math.nan, 0.0)
    finished = int(np.isfinite(final).sum())
    if np.isnan(final).any():
        if finished >= FEWEST:
            prediction = forecast(features, final, early.candidates)
            mean, std = prediction.mean, prediction.std
        else:
            notes.append(f"Finished settings: {finished}; at least {FEWEST} are needed to predict others.")
    seeds = np.maximum(np.isfinite(early.seed_finals).sum(axis=1), 1)
    if math.isnan(deviation) and training.sum() >= FEWEST:  # one seed each: the surrogate's noise
        deviation = GaussianProcess.fit(features[training], final[training]).noise
    std = np.where(np.isfinite(final), deviation / np.sqrt(seeds), std)
    state = tuple(_state(f, m) for f, m in zip(final.tolist(), mean.tolist(), strict=True))
    values = early.early[ordering(predictor) or "metric"]
    following = next_setting(features, final, early.candidates, values if np.isfinite(values).any() else None)
    return Expectation(predictor, mean, std, state, following, tuple(notes))


def forecast(features: FloatArray, final: FloatArray, candidates: NDArray[np.bool_]) -> Forecast:
    """Predict the final metrics that are not known from those that are.

    Args:
        features: Shape (n, d).
        final: Shape (n,): known metrics; NaN not known, inf diverged.
        candidates: Those to predict; the others stay NaN.

    Returns:
        Mean and deviation of every setting, (n,) each.

    Raises:
        AnalysisError: Fewer than `FEWEST` are known.
    """
    usable = candidates & np.isfinite(features).all(axis=1)
    training = usable & np.isfinite(final)
    if training.sum() < FEWEST:
        raise AnalysisError(
            f"predicting final metrics: {int(training.sum())} are known; at least {FEWEST} are needed"
        )
    process = GaussianProcess.fit(features[training], final[training], features[usable])
    mean, std = np.full(len(final), math.nan), np.full(len(final), math.nan)
    mean[usable], std[usable] = process.predict(features[usable])
    there = np.isfinite(final)
    mean[there], std[there] = final[there], 0.0
    return Forecast(mean, std)


def expected_improvement(mean: FloatArray, std: FloatArray, best: float) -> FloatArray:
    """Return the expected improvement on `best` (smaller is better), shape (n,); 0 if unknown.

    Source: Jones, Schonlau & Welch 1998.
    """
    gap, spread = np.where(np.isfinite(mean), best - mean, -1e3), np.maximum(np.nan_to_num(std), 1e-12)
    value: FloatArray = gap * stats.norm.cdf(gap / spread) + spread * stats.norm.pdf(gap / spread)
    return np.where(np.isfinite(mean), np.maximum(value, 0.0), 0.0)


def next_setting(
    features: FloatArray, final: FloatArray, candidates: NDArray[np.bool_], early: FloatArray | None
) -> int | None:
    """Choose the setting to finish next: spread them first, then by expected improvement.

    Args:
        features: Shape (n, d).
        final: Shape (n,): known metrics; NaN not known, inf diverged.
        candidates: Those that may be finished.
        early: An early feature that orders settings, smaller is better; None if a predictor has none.

    Returns:
        Index of the setting; None if all have finished.
    """
    open_ = candidates & np.isnan(final) & np.isfinite(features).all(axis=1)
    if not open_.any():
        return None
    training = np.isfinite(final) & np.isfinite(features).all(axis=1)
    if training.sum() >= FEWEST:
        prediction = forecast(features, final, candidates | training)
        gain = expected_improvement(prediction.mean, prediction.std, float(final[training].min()))
        return int(np.argmax(np.where(open_, np.nan_to_num(gain + 1e-9 * prediction.std), -1.0)))
    scaled = (features - features[open_].mean(axis=0)) / np.maximum(features[open_].std(axis=0), 1e-12)
    if not training.any():
        order = early if early is not None else np.sum(scaled**2, axis=1)
        return int(np.argmin(np.where(open_ & np.isfinite(order), order, np.inf)))
    promising = open_
    if early is not None:
        promising = open_ & (early <= np.median(early[open_]))
        promising = promising if promising.any() else open_
    distance = np.sqrt(((scaled[:, None] - scaled[training][None]) ** 2).sum(axis=-1)).min(axis=1)
    return int(np.argmax(np.where(promising, distance, -1.0)))


def ordering(predictor: str) -> str | None:
    """Return the early feature of a predictor that orders settings by itself."""
    parts = predictor.split("+")
    return next((name for name in ("metric", "train_loss") if name in parts), None)


def leave_one_out_error(features: FloatArray, final: FloatArray) -> float:
    """Return the RMS error of each known metric predicted from the others; NaN below five."""
    training = np.flatnonzero(np.isfinite(final) & np.isfinite(features).all(axis=1))
    if len(training) < FEWEST + 2:
        return math.nan
    errors = []
    for k in training:
        rest = training[training != k]
        mean, _ = GaussianProcess.fit(features[rest], final[rest], features[training]).predict(features[[k]])
        errors.append(mean[0] - final[k])
    return float(np.sqrt(np.mean(np.square(errors))))


def _choose_predictor(early: EarlyCurves) -> tuple[str, str]:
    """Return the predictor that `auto` takes, and a note that says why."""
    if not np.isnan(early.final).any():
        return WITHOUT_MEASURES, ""
    if not np.isfinite(early.features["measures"][early.candidates]).all():
        return WITHOUT_MEASURES, ""
    final = np.where(np.isinf(early.final), math.nan, early.final)
    without, with_ = (
        leave_one_out_error(early.features[p], final) for p in (WITHOUT_MEASURES, WITH_MEASURES)
    )
    errors = f"leave-one-out error {with_:.3g} with them, {without:.3g} without"
    if with_ < without:
        return WITH_MEASURES, f"(C̄, L) are used: {errors}."
    return WITHOUT_MEASURES, "" if math.isnan(without) else f"(C̄, L) do not help here: {errors}."


def _seed_deviation(seed_finals: FloatArray) -> float:
    """Return the deviation between seeds, pooled; NaN where each setting has one."""
    values = np.where(np.isfinite(seed_finals), seed_finals, math.nan)
    freedom = int(np.maximum(np.isfinite(values).sum(axis=1) - 1, 0).sum())
    if not freedom:
        return math.nan
    square = np.nansum((values - seed_mean(values)[:, None]) ** 2)
    return math.sqrt(float(square) / freedom)


def _state(final: float, mean: float) -> str:
    if math.isinf(final):
        return "diverged"
    if math.isfinite(final):
        return "finished"
    return "predicted" if math.isfinite(mean) else "unknown"
