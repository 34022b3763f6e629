"""Claims 4, 8 and 9: where errors are low."""

import math

import numpy as np
from numpy.typing import NDArray

from fisherscope.analysis.claim_tests.verdicts import Claim, Evidence
from fisherscope.analysis.data.setting_grid import SettingGrid, grid_text, seed_mean
from fisherscope.analysis.data.settings import FloatArray
from fisherscope.analysis.errors import AnalysisError
from fisherscope.analysis.landscapes.plane import BEST, margin
from fisherscope.analysis.landscapes.surface import unit_square
from fisherscope.analysis.stats.hypothesis_tests import interval, kendall, permutation_p, spearman
from fisherscope.analysis.stats.resampling import (
    PERMUTATIONS,
    generator,
    random_sets,
    seed_draws,
    setting_draws,
    share_at_or_below,
)

CORNER_TAU = 0.2
TIE_DIGITS = 12
"""Digits that gaps are rounded to, so that rounding errors do not order ties."""


def claim_4_region(grid: SettingGrid, metric: str, smaller: bool) -> Claim:
    """Test claim 4: the best five lie together; what goes wrong in the corners."""
    text = "The lowest errors lie together; poor convergence and generalisation in the corners"
    scores, logs, usable = _scores(grid, metric, smaller)
    if len(scores) < 2 * BEST:
        reason = f"Needs ten settings that finished without diverging; found {grid_text(grid)}."
        return Claim(4, text, reason=reason)
    plane, coordinates = unit_square(logs)[0], unit_square(grid.coordinates[usable])[0]
    draws = seed_draws(_to_minimise(grid, metric, smaller)[usable], 300)
    closeness = _closeness(plane, scores)
    bootstrap = np.array([_closeness(plane, draw) for draw in draws])
    chance = _random_distances(plane)
    parts = [
        Evidence(
            "distance among the best five over that of random fives",
            closeness, *interval(bootstrap), len(scores),
            permutation_p(-closeness, -chance), permutation_p(closeness, chance), minimum=-math.inf,
        )
    ]  # fmt: skip
    parts += _corners(grid, metric, logs, usable)
    ratio = np.array([_closeness(plane, draw) / _closeness(coordinates, draw) for draw in draws])
    name = (
        "that ratio relative to the same in (log B, log α); below 1 the plane clusters the best more tightly"
    )
    estimate = closeness / _closeness(coordinates, scores)
    p = share_at_or_below(-ratio, -1.0)
    parts.append(Evidence(name, estimate, *interval(ratio), len(scores), p, beside=True))
    inside = setting_draws(len(scores), lambda k: float(_minimum_inside(plane[k], scores[k])))
    name = "share of bootstraps with a convex bowl whose bottom lies inside"
    parts.append(Evidence(name, float(inside.mean()), math.nan, math.nan, len(scores), math.nan, beside=True))
    return Claim(4, text, tuple(parts), "At a fixed number of epochs, which favours small batches.")


def claim_9_ratio(grid: SettingGrid, metric: str, smaller: bool) -> Claim:
    """Test claim 9: range of log(α/|B|) in the best five; convexity of the error in it."""
    text = "The five best share similar α/|B|; more of it helps only up to a point"
    scores, _, usable = _scores(grid, metric, smaller, measures=False)
    if len(scores) < 2 * BEST:
        return Claim(9, text, reason=f"Needs ten settings that finished; found {grid_text(grid)}.")
    log_ratios = np.log2(grid.lrs / grid.batch_sizes)[usable]
    spread = float(np.ptp(log_ratios[np.argsort(scores, kind="stable")[:BEST]]))
    chance = np.ptp(log_ratios[random_sets(len(log_ratios), BEST)], axis=1)
    draws = seed_draws(_to_minimise(grid, metric, smaller)[usable], 300)
    draw_spreads = [float(np.ptp(log_ratios[np.argsort(draw, kind="stable")[:BEST]])) for draw in draws]
    bends = setting_draws(len(scores), lambda k: _bend(log_ratios[k], scores[k]))
    parts = (
        Evidence(
            "range of log2(α/|B|) in the best five, octaves", spread, *interval(draw_spreads), len(scores),
            permutation_p(-spread, -chance), permutation_p(spread, chance), minimum=-math.inf,
        ),
        Evidence(
            "bend of the metric in log2(α/|B|)", _bend(log_ratios, scores), *interval(bends), len(scores),
            share_at_or_below(bends, 0.0), share_at_or_below(-bends, 0.0),
        ),
        Evidence("range of random fives", float(chance.mean()), math.nan, math.nan, len(scores), math.nan,
             beside=True),
    )  # fmt: skip
    return Claim(9, text, parts)


def claim_8_transfer(first: SettingGrid, second: SettingGrid, metric: str, smaller: bool) -> Claim:
    """Test claim 8: what the best setting of one task loses on the other."""
    text = "The best region depends little on the number of classes: a setting transfers"
    common = [name for name in first.names if name in set(second.names)]
    if len(common) < BEST:
        return Claim(8, text, reason=f"The two tasks share {len(common)} settings; needs {BEST}.")
    one, two = (
        _to_minimise(grid, metric, smaller)[[grid.names.index(name) for name in common]]
        for grid in (first, second)
    )
    means = seed_mean(one), seed_mean(two)
    usable = np.isfinite(means[0]) & np.isfinite(means[1])
    if usable.sum() < BEST:
        return Claim(8, text, reason=f"{int(usable.sum())} shared settings finished on both; needs {BEST}.")
    transferred = int(np.argmin(means[0][usable]))
    scores = means[1][usable]
    allowance = margin(float(scores.min()), metric)
    draws = seed_draws(two[usable])
    regrets = draws[:, transferred] - draws.min(axis=1)
    numbers = generator()
    chance = [spearman(means[0][usable], numbers.permutation(scores)) for _ in range(PERMUTATIONS // 4)]
    alike = spearman(means[0][usable], scores)
    parts = (
        Evidence(
            f"regret of {np.array(common)[usable][transferred]} on the second task (margin {allowance:.3g})",
            float(scores[transferred] - scores.min()), *interval(regrets), int(usable.sum()),
            share_at_or_below(-regrets, -allowance), share_at_or_below(regrets, allowance), minimum=-math.inf,
        ),
        Evidence("ρ of the metric over settings", alike, math.nan, math.nan, int(usable.sum()),
             permutation_p(alike, chance), beside=True),
    )  # fmt: skip
    return Claim(8, text, parts, "The reference is the best of noisy means, so the regret errs upwards.")


def _scores(
    grid: SettingGrid, metric: str, smaller: bool, *, measures: bool = True
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Return what is compared, for the settings that have it.

    Returns:
        Metric to be minimised (m,), (log C̄, log L) (m, 2), and which settings these are (n,).
    """
    scores = seed_mean(_to_minimise(grid, metric, smaller))
    usable = np.isfinite(scores)
    logs = np.zeros((len(grid), 2))
    if measures:
        logs = np.column_stack([seed_mean(grid.logs(grid.x)), seed_mean(grid.logs(grid.y))])
        usable &= np.isfinite(logs).all(axis=1)
    return scores[usable], logs[usable], usable


def _to_minimise(grid: SettingGrid, metric: str, smaller: bool) -> FloatArray:
    """Return a metric by setting and seed, negated if larger is better."""
    values = grid.values(metric)
    return values if smaller else -values


def _closeness(points: FloatArray, scores: FloatArray) -> float:
    """Return the mean distance among the best five over that of all pairs."""
    best = np.argsort(scores, kind="stable")[:BEST]
    chance = _any_two(points)
    return float(_distances(points, best[None])[0]) / chance if chance > 0 else math.nan


def _random_distances(points: FloatArray) -> FloatArray:
    return _distances(points, random_sets(len(points), BEST)) / _any_two(points)


def _any_two(points: FloatArray) -> float:
    """Return the mean distance of all pairs, which is that of random fives on average."""
    return float(_distances(points, np.arange(len(points))[None])[0])


def _distances(points: FloatArray, sets: NDArray[np.intp]) -> FloatArray:
    """Return the mean pairwise distance within each set."""
    chosen = points[sets]
    apart = np.sqrt(((chosen[:, :, None] - chosen[:, None]) ** 2).sum(axis=-1))
    size = sets.shape[1]
    out: FloatArray = apart.sum(axis=(1, 2)) / (size * (size - 1))
    return out


def _corners(grid: SettingGrid, metric: str, logs: FloatArray, usable: NDArray[np.bool_]) -> list[Evidence]:
    """Test τ of the training metric with log L − log C̄, and of the gap with the opposite."""
    split, _, name = metric.partition("/")
    try:
        train, validation = (seed_mean(grid.values(f"{s}/{name}"))[usable] for s in ("train", split))
    except AnalysisError:
        try:
            train, validation = (seed_mean(grid.values(f"{s}/loss"))[usable] for s in ("train", split))
        except AnalysisError:
            return []
    lean = logs[:, 1] - logs[:, 0]
    tests = (
        ("τ(training error, log L − log C̄)", train, lean),
        ("τ(gap, log C̄ − log L)", np.round(validation - train, TIE_DIGITS), -lean),
    )
    return [_tau(label, values, along) for label, values, along in tests if np.isfinite(values).all()]


def _tau(name: str, values: FloatArray, along: FloatArray) -> Evidence:
    """Return Kendall's τ with its permutation test and interval."""
    numbers = generator()
    tau = kendall(values, along)
    chance = np.array([kendall(numbers.permutation(values), along) for _ in range(PERMUTATIONS // 2)])
    draws = setting_draws(len(values), lambda k: kendall(values[k], along[k]))
    return Evidence(
        name,
        tau,
        *interval(draws),
        len(values),
        permutation_p(tau, chance),
        permutation_p(-tau, -chance),
        CORNER_TAU,
    )


def _minimum_inside(points: FloatArray, scores: FloatArray) -> bool:
    """Return whether the fitted quadratic is convex, with its minimum among the points."""
    from scipy.spatial import Delaunay, QhullError

    a, b = points.T
    design = np.column_stack([np.ones(len(a)), a, b, a * a, a * b, b * b])
    if len(np.unique(points, axis=0)) < 6:
        return False
    _, c_a, c_b, c_aa, c_ab, c_bb = np.linalg.lstsq(design, scores, rcond=None)[0]
    hessian = np.array([[2 * c_aa, c_ab], [c_ab, 2 * c_bb]])
    if not np.linalg.eigvalsh(hessian)[0] > 0:
        return False
    try:
        return bool(Delaunay(points).find_simplex(np.linalg.solve(hessian, [-c_a, -c_b])) >= 0)
    except QhullError:
        return False


def _bend(place: FloatArray, scores: FloatArray) -> float:
    """Return the second-order coefficient of scores over a coordinate."""
    return float(np.polyfit(place, scores, 2)[0]) if len(np.unique(place)) > 2 else math.nan
