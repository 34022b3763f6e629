"""How well early measurements foretell the end of a recorded sweep, and what (C̄, L) add to that."""

import math

import numpy as np
from numpy.typing import NDArray

from fisherscope.analysis.data.settings import FloatArray
from fisherscope.analysis.errors import AnalysisError
from fisherscope.analysis.selection.surrogate import (
    PREDICTORS,
    WITH,
    WITHOUT,
    LearningCurves,
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
GAINS = ((WITH, WITHOUT), ("train_loss+grid+measures", "train_loss+grid"))


def foretold(
    name: str, recorded: LearningCurves, epoch: int
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """ρ of every predictor from the same beacons, and what (C̄, L) add to it."""
    found: dict[tuple[str, str], list[FloatArray]] = {}
    truths: list[FloatArray] = []
    for seed in range(len(recorded.grid.seeds)):
        lost = np.isinf(recorded.final).any(axis=1)
        truths.append(np.where(lost, math.nan, recorded.truth(seed)))
        beacons = _beacons(recorded, seed, epoch)
        for predictor in PREDICTORS:
            features = recorded.features(predictor, epoch, np.array([seed]))
            final = np.where(lost, math.nan, recorded.final[:, seed])
            found.setdefault((BEACONS, predictor), []).append(_from_beacons(features, final, beacons))
            found.setdefault((LEFT_OUT, predictor), []).append(_left_out(features, final))
    rows: list[dict[str, object]] = [
        {"sweep": name, "mode": mode, "predictor": predictor, "rho": _finite(_mean_rho(values, truths))}
        for (mode, predictor), values in found.items()
    ]
    count = len(recorded.grid)
    numbers = generator()
    resamples = [numbers.integers(0, count, count) for _ in range(GAIN_DRAWS)]
    gains: list[dict[str, object]] = []
    for with_, without in GAINS:
        sides = found[BEACONS, with_], found[BEACONS, without]
        gain = _mean_rho(sides[0], truths) - _mean_rho(sides[1], truths)
        draws = [_mean_rho(sides[0], truths, k) - _mean_rho(sides[1], truths, k) for k in resamples]
        low, high = interval(draws)
        gains.append(
            {"sweep": name, "with": with_, "without": without, "gain": _finite(gain), "low": _finite(low),
             "high": _finite(high)}
        )  # fmt: skip
    return rows, gains


def _beacons(recorded: LearningCurves, seed: int, epoch: int) -> list[int]:
    """The beacons of the headline budget, chosen in order by the predictor without (C̄, L)."""
    features = recorded.features(WITHOUT, epoch, np.array([seed]))
    early = recorded.early("metric", epoch, np.array([seed]))
    budget = HEADLINE_BUDGET * len(recorded.grid) * recorded.epochs - len(recorded.grid) * epoch
    wanted = max(4, int(budget // (recorded.epochs - epoch)))
    final, chosen = np.full(len(features), math.nan), []
    for _ in range(wanted):
        k = next_setting(features, final, np.isfinite(early), early)
        if k is None:
            break
        final[k] = recorded.final[k, seed]
        chosen.append(k)
    return chosen


def _from_beacons(features: FloatArray, final: FloatArray, beacons: list[int]) -> FloatArray:
    """Forecast of what is no beacon; NaN elsewhere."""
    known = np.full(len(final), math.nan)
    known[beacons] = final[beacons]
    everything = np.ones(len(final), dtype=bool)
    try:
        mean = forecast(features, known, everything).mean
    except AnalysisError:
        return np.full(len(final), math.nan)
    mean[beacons] = math.nan
    return mean


def _left_out(features: FloatArray, final: FloatArray) -> FloatArray:
    """Each setting from all the others."""
    out = np.full(len(final), math.nan)
    known = np.flatnonzero(np.isfinite(final) & np.isfinite(features).all(axis=1))
    for k in known if len(known) > 3 else ():
        rest = known[known != k]
        out[k] = GaussianProcess.fit(features[rest], final[rest], features[known]).predict(features[[k]])[0][
            0
        ]
    return out


def _mean_rho(
    predicted: list[FloatArray],
    truths: list[FloatArray],
    chosen: NDArray[np.intp] | None = None,
) -> float:
    """Mean over seeds of Spearman's ρ; of resampled settings where they are given."""
    rhos = []
    for values, truth in zip(predicted, truths, strict=True):
        pair = (values, truth) if chosen is None else (values[chosen], truth[chosen])
        known = np.isfinite(pair[0]) & np.isfinite(pair[1])
        rhos.append(spearman(pair[0][known], pair[1][known]))
    usable = [rho for rho in rhos if math.isfinite(rho)]
    return float(np.mean(usable)) if usable else math.nan


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
