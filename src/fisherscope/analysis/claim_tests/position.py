"""Claims 2, 3, 5 and 6: where settings lie in the (C̄_K, L_K) plane."""

import math
from collections.abc import Iterator

import numpy as np
import polars as pl

from fisherscope.analysis.claim_tests.verdicts import Claim, Evidence
from fisherscope.analysis.data.labels import PREFIX
from fisherscope.analysis.data.run_measures import measure
from fisherscope.analysis.data.setting_grid import SettingGrid, grid_text, seed_mean
from fisherscope.analysis.data.settings import FloatArray, Settings
from fisherscope.analysis.data.stored_spectra import sigma_ratios
from fisherscope.analysis.errors import AnalysisError
from fisherscope.analysis.stats.hypothesis_tests import (
    interval,
    intraclass,
    permutation_p,
    residuals,
    spearman,
)
from fisherscope.analysis.stats.resampling import (
    permuted_taus,
    seed_draws,
    setting_draws,
    share_at_or_below,
    stratified_tau,
)
from fisherscope.measures.nonzero_rules import RELATIVE_CUT

SMALLEST_TAU = 0.3
STABLE = 0.8
EARLY_SHARE = 10 / 320
"""The paper's "first epochs", as a share of the training."""
FIRST_MEASUREMENTS = 0.1


def claim_2_growth(grid: SettingGrid) -> Claim:
    """Test claim 2: Kendall's τ within grid lines, of the measures and of null models."""
    text = "C̄_K grows with |B|, L_K falls with |B|, both grow with α"
    tests = [
        ("C̄", grid.x, "batch", 1),
        ("L", grid.y, "batch", -1),
        ("C̄", grid.x, "lr", 1),
        ("L", grid.y, "lr", 1),
    ]
    parts = [
        tau_evidence(
            grid, grid.logs(column), axis, sign, f"τ({'' if sign > 0 else '−'}{short}, {_letter(axis)})"
        )
        for short, column, axis, sign in tests
    ]
    if not all(math.isfinite(part.p) for part in parts):
        return Claim(2, text, reason=f"Needs lines of the grid in both directions; found {grid_text(grid)}.")
    for name, column in (("c of 8 samples", "cond_m8_geomean"), ("L over α·|B|^-½", "energy_density")):
        for axis in ("batch", "lr"):
            try:
                logs = grid.logs(column)
            except AnalysisError:
                continue
            parts.append(tau_evidence(grid, logs, axis, 1, f"τ({name}, {_letter(axis)})", beside=True))
    return Claim(
        2,
        text,
        tuple(parts),
        "c grows with |B| by itself, and L as α·|B|^-½: compare with these null models.",
    )


def claim_3_stability(grid: SettingGrid, last: int) -> Claim:
    """Test claim 3: early ranks against late ones on other seeds; c_k against its mean."""
    early = max(1, round(last * EARLY_SHARE))
    text = f"Relative positions are stable from the first epochs ({early} of {last}), c_k is too noisy"
    if len(grid.seeds) < 2 or len(grid) < 5 or early >= last:
        return Claim(3, text, reason=f"Needs two seeds, five settings, two epochs; found {grid_text(grid)}.")
    half = len(grid.seeds) // 2
    parts: list[Evidence] = []
    for name, column in (("C̄", grid.x), ("L", grid.y)):
        first = seed_mean(grid.logs(column, early)[:, :half])
        end = seed_mean(grid.logs(column)[:, half:])
        usable = np.isfinite(first) & np.isfinite(end)
        if usable.sum() < 5:
            return Claim(3, text, reason=f"Only {int(usable.sum())} settings have {name} at epoch {early}.")
        parts += _rank_evidence(name, first[usable], end[usable], grid.coordinates[usable])
    noise = _noise_evidence(grid, early)
    return Claim(3, text, (*parts, *noise), "Early and late are different seeds.")


def claim_5_dependence(grid: SettingGrid) -> Claim:
    """Test claim 5: slopes per doubling at one iteration before any decay; L against its null."""
    text = "At a given iteration C̄_K depends on |B| and hardly on α, L_K on α and hardly on |B|"
    step = common_iteration(grid.source)
    if len(grid.seeds) < 2 or not step or not _spans(grid):
        return Claim(5, text, reason=f"Needs two seeds, both axes, measured steps; found {grid_text(grid)}.")
    slopes = []
    for column in (grid.x, grid.y):
        values = grid.to_array(at_step(grid.source, column, step))
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log2(values)
        usable = np.isfinite(seed_mean(logs))
        if usable.sum() < 4 or not _spans(grid.part(usable)):
            return Claim(5, text, reason=f"Too few settings have {column} at iteration {step}.")
        design = np.column_stack([np.ones(usable.sum()), grid.coordinates[usable]])
        solve = np.linalg.pinv(design)
        draws = seed_draws(logs[usable])
        slopes.append((solve @ seed_mean(logs[usable]), draws @ solve.T))
    (cond, cond_draws), (energy, energy_draws) = slopes
    parts = (
        _slope_evidence("C̄: |b_B| − 2|b_α|", _dominance(cond, 1), _dominance(cond_draws, 1), len(grid)),
        _slope_evidence("L: |b_α| − 2|b_B|", _dominance(energy, 2), _dominance(energy_draws, 2), len(grid)),
        _slope_evidence("L: b_B + ½ (0 is the null)", energy[1] + 0.5, energy_draws[:, 1] + 0.5, len(grid)),
        _companion("C̄: b_B", cond[1], cond_draws[:, 1], len(grid)),
        _companion("C̄: b_α", cond[2], cond_draws[:, 2], len(grid)),
        _companion("L: b_α (1 is the null)", energy[2], energy_draws[:, 2], len(grid)),
    )
    return Claim(
        5,
        text,
        parts,
        f"Slopes per doubling at iteration {step}, before the first learning-rate decay of any run.",
    )


def claim_6_rank_deficiency(source: Settings) -> Claim:
    """Test claim 6: share of early rank-deficient measurements against α at fixed |B|."""
    text = "At very large α/|B| the Gram turns rank deficient early"
    grid = SettingGrid.of(source, without_diverged=False)
    shares = grid.to_array(_deficient_shares(source))
    means = seed_mean(shares)
    if not np.isfinite(means).any():
        return Claim(
            6,
            text,
            reason="No stored spectra, and c_k above a floor does not show rank: pass run= to the Monitor.",
        )
    if not np.nanmax(means) > 0:
        cut = f"σ_min/σ_max < {RELATIVE_CUT:g}"
        return Claim(
            6, text, reason=f"No early measurement has {cut}: α/|B| is not large enough here to test."
        )
    part = tau_evidence(grid, shares, "lr", 1, "τ(share of deficient early measurements, α)")
    if not math.isfinite(part.p):
        return Claim(6, text, reason=f"Needs several α at one |B|; found {grid_text(grid)}.")
    return Claim(6, text, (part,), f"Deficient: σ_min/σ_max below {RELATIVE_CUT:g}; diverged runs included.")


# Shared by several claims


def tau_evidence(
    grid: SettingGrid, values: FloatArray, axis: str, sign: int, name: str, *, beside: bool = False
) -> Evidence:
    """Return the mean τ over grid lines of a measure (n, s) with a coordinate, and its test."""
    mean = sign * seed_mean(values)
    usable = np.isfinite(mean)
    part = grid.part(usable)
    mean, along = mean[usable], part.batch_sizes if axis == "batch" else part.lrs
    strata = part.strata(axis)
    tau = stratified_tau(mean, along, strata)
    permutations = permuted_taus(mean, along, strata)
    draws = seed_draws(sign * values[usable], 200)
    low, high = interval([stratified_tau(draw, along, strata) for draw in draws])
    if len(grid.seeds) < 2:
        low = high = math.nan
    p, against = permutation_p(tau, permutations), permutation_p(-tau, -permutations)
    return Evidence(name, tau, low, high, int(usable.sum()), p, against, SMALLEST_TAU, beside)


def common_iteration(source: Settings) -> int:
    """Return the last iteration of every run at its first learning rate; 0 if unknown."""
    steps = source.steps
    if not {"step", "lr"} <= set(steps.columns):
        return 0
    ends = []
    for _, rows in steps.drop_nulls(["step", "lr"]).sort("step").group_by("run_id", maintain_order=True):
        lower = rows.filter(pl.col("lr") < 0.999 * rows["lr"][0])
        ends.append(int(lower["step"][0]) if len(lower) else int(rows["step"][-1]) + 1)
    return min(ends, default=0)


def at_step(source: Settings, column: str, step: int) -> pl.DataFrame:
    """Return `run_id, value` of a running measure after `step` steps, interpolated.

    A measure that the steps do not have is interpolated between the ends of epochs.
    """
    rows = []
    steps = source.steps
    column = next((name for name in (column, PREFIX + column) if name in steps.columns), column)
    if column not in steps.columns:
        if "step" not in source.epochs.columns:
            return pl.DataFrame(schema={"run_id": pl.String, "value": pl.Float64})
        ends = source.epochs.select("run_id", "epoch", pl.col("step") - 1)
        steps = measure(source, column).join(ends, on=["run_id", "epoch"]).rename({"value": column})
    for (run_id,), part in steps.drop_nulls(column).sort("step").group_by("run_id", maintain_order=True):
        steps_done, values = part["step"].to_numpy() + 1.0, part[column].cast(pl.Float64).to_numpy()
        if steps_done[0] <= step:
            rows.append({"run_id": str(run_id), "value": float(np.interp(step, steps_done, values))})
    return pl.DataFrame(rows, schema={"run_id": pl.String, "value": pl.Float64})


def _rank_evidence(name: str, first: FloatArray, end: FloatArray, grid: FloatArray) -> Iterator[Evidence]:
    draws = setting_draws(len(first), lambda k: spearman(first[k], end[k]))
    p, against = share_at_or_below(draws, STABLE), share_at_or_below(-draws, -STABLE)
    yield Evidence(
        f"ρ({name} early, {name} at the end)",
        spearman(first, end),
        *interval(draws),
        len(first),
        p,
        against,
        STABLE,
    )
    residual = residuals(first, grid), residuals(end, grid)
    draws = setting_draws(len(first), lambda k: spearman(residual[0][k], residual[1][k]))
    yield Evidence(
        f"the same of {name} without what (log B, log α) explain",
        spearman(*residual), *interval(draws), len(first), share_at_or_below(draws, 0.0), beside=True,
    )  # fmt: skip


def _noise_evidence(grid: SettingGrid, early: int) -> list[Evidence]:
    try:
        mean, single = grid.logs(grid.x, early), grid.logs("cond_last", early)
    except AnalysisError:
        return []
    usable = np.isfinite(mean).all(axis=1) & np.isfinite(single).all(axis=1)
    if usable.sum() < 5:
        return []
    mean, single = mean[usable], single[usable]
    draws = setting_draws(len(mean), lambda k: intraclass(mean[k]) - intraclass(single[k]))
    estimate = intraclass(mean) - intraclass(single)
    p, against = share_at_or_below(draws, 0.0), share_at_or_below(-draws, 0.0)
    return [
        Evidence(
            "intraclass correlation of C̄ minus that of c_k", estimate, *interval(draws), len(mean), p, against
        )
    ]


def _dominance(slopes: FloatArray, first: int) -> FloatArray:
    """Return |b_first| − 2|b_other| of slopes (…, 3) with the intercept in front."""
    out: FloatArray = np.abs(slopes[..., first]) - 2 * np.abs(slopes[..., 3 - first])
    return out


def _slope_evidence(name: str, estimate: float | FloatArray, draws: FloatArray, n: int) -> Evidence:
    p, against = share_at_or_below(draws, 0.0), share_at_or_below(-draws, 0.0)
    return Evidence(name, float(estimate), *interval(draws), n, p, against)


def _companion(name: str, estimate: float, draws: FloatArray, n: int) -> Evidence:
    return Evidence(name, float(estimate), *interval(draws), n, math.nan, beside=True)


def _spans(grid: SettingGrid) -> bool:
    return len(grid) > 3 and np.linalg.matrix_rank(grid.coordinates - grid.coordinates.mean(axis=0)) == 2


def _letter(axis: str) -> str:
    return "|B|" if axis == "batch" else "α"


def _deficient_shares(source: Settings) -> pl.DataFrame:
    """Return each run's share of early measurements with σ_min/σ_max below the cut."""
    rows = []
    for run_id, ratios in sigma_ratios(source.runs).items():
        defined = ratios[np.isfinite(ratios)]
        if len(defined):
            first = defined[: max(1, math.ceil(FIRST_MEASUREMENTS * len(defined)))]
            rows.append({"run_id": run_id, "value": float(np.mean(first < RELATIVE_CUT))})
    return pl.DataFrame(rows, schema={"run_id": pl.String, "value": pl.Float64})
