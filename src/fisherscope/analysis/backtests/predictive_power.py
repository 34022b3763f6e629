"""Rank correlation of early predictions with the final metric, and what (C̄, L) add to it."""

import math

import numpy as np
from numpy.typing import NDArray

from fisherscope.analysis.data.settings import FloatArray
from fisherscope.analysis.errors import AnalysisError
from fisherscope.analysis.selection.learning_curves import PREDICTORS, LearningCurves
from fisherscope.analysis.selection.surrogate import (
    WITH_MEASURES,
    WITHOUT_MEASURES,
    forecast,
    next_setting,
)
from fisherscope.analysis.stats.gaussian_process import GaussianProcess
from fisherscope.analysis.stats.hypothesis_tests import interval, spearman
from fisherscope.analysis.stats.resampling import generator

HEADLINE_BUDGET = 0.2
GAIN_DRAWS = 500
BEACONS = "beacons"
LEFT_OUT = "all others finished"
GAINS = ((WITH_MEASURES, WITHOUT_MEASURES), ("train_loss+grid+measures", "train_loss+grid"))


def predictive_power(
    name: str, curves: LearningCurves, epoch: int
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Return ρ of every predictor from the same beacons, and what (C̄, L) add to it.

    Args:
        name: Name of the sweep.
        curves: Its learning curves.
        epoch: Epoch at which features are read.
    """
    predictions: dict[tuple[str, str], list[FloatArray]] = {}
    finals: list[FloatArray] = []
    for seed in range(len(curves.grid.seeds)):
        diverged = np.isinf(curves.final).any(axis=1)
        finals.append(np.where(diverged, math.nan, curves.final_of_other_seeds(seed)))
        beacons = _beacons(curves, seed, epoch)
        for predictor in PREDICTORS:
            features = curves.features(predictor, epoch, np.array([seed]))
            final = np.where(diverged, math.nan, curves.final[:, seed])
            predictions.setdefault((BEACONS, predictor), []).append(_from_beacons(features, final, beacons))
            predictions.setdefault((LEFT_OUT, predictor), []).append(_from_all_others(features, final))
    rows: list[dict[str, object]] = [
        {"sweep": name, "mode": mode, "predictor": predictor, "rho": _finite(_mean_rho(values, finals))}
        for (mode, predictor), values in predictions.items()
    ]
    count = len(curves.grid)
    numbers = generator()
    resamples = [numbers.integers(0, count, count) for _ in range(GAIN_DRAWS)]
    gains: list[dict[str, object]] = []
    for with_, without in GAINS:
        sides = predictions[BEACONS, with_], predictions[BEACONS, without]
        gain = _mean_rho(sides[0], finals) - _mean_rho(sides[1], finals)
        draws = [_mean_rho(sides[0], finals, k) - _mean_rho(sides[1], finals, k) for k in resamples]
        low, high = interval(draws)
        gains.append(
            {"sweep": name, "with": with_, "without": without, "gain": _finite(gain), "low": _finite(low),
             "high": _finite(high)}
        )  # fmt: skip
    return rows, gains


def _beacons(curves: LearningCurves, seed: int, epoch: int) -> list[int]:
    """Choose the beacons of the headline budget, in order, by the predictor without (C̄, L)."""
    features = curves.features(WITHOUT_MEASURES, epoch, np.array([seed]))
    early = curves.feature("metric", epoch, np.array([seed]))
    budget = HEADLINE_BUDGET * len(curves.grid) * curves.epochs - len(curves.grid) * epoch
    count = max(4, int(budget // (curves.epochs - epoch)))
    final, chosen = np.full(len(features), math.nan), []
    for _ in range(count):
        k = next_setting(features, final, np.isfinite(early), early)
        if k is None:
            break
        final[k] = curves.final[k, seed]
        chosen.append(k)
    return chosen


def _from_beacons(features: FloatArray, final: FloatArray, beacons: list[int]) -> FloatArray:
    """Forecast every setting that is no beacon; NaN for the beacons."""
    training = np.full(len(final), math.nan)
    training[beacons] = final[beacons]
    everything = np.ones(len(final), dtype=bool)
    try:
        mean = forecast(features, training, everything).mean
    except AnalysisError:
        return np.full(len(final), math.nan)
    mean[beacons] = math.nan
    return mean


def _from_all_others(features: FloatArray, final: FloatArray) -> FloatArray:
    """Predict each setting from all the others."""
    out = np.full(len(final), math.nan)
    training = np.flatnonzero(np.isfinite(final) & np.isfinite(features).all(axis=1))
    for k in training if len(training) > 3 else ():
        rest = training[training != k]
        out[k] = GaussianProcess.fit(features[rest], final[rest], features[training]).predict(features[[k]])[
            0
        ][0]
    return out


def _mean_rho(
    predictions: list[FloatArray],
    finals: list[FloatArray],
    chosen: NDArray[np.intp] | None = None,
) -> float:
    """Return the mean over seeds of Spearman's ρ, of resampled settings if they are given."""
    rhos = []
    for values, final in zip(predictions, finals, strict=True):
        pair = (values, final) if chosen is None else (values[chosen], final[chosen])
        defined = np.isfinite(pair[0]) & np.isfinite(pair[1])
        rhos.append(spearman(pair[0][defined], pair[1][defined]))
    usable = [rho for rho in rhos if math.isfinite(rho)]
    return float(np.mean(usable)) if usable else math.nan


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
