"""Claims 7, 10, 11 and 12: schedules against beacons, and the shape of curves."""

import math
import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl

from fisherscope.analysis.claim_tests.travel import travel_angle
from fisherscope.analysis.claim_tests.verdicts import Claim, Evidence
from fisherscope.analysis.data.run_measures import BY_EPOCHS, at_epoch, measure
from fisherscope.analysis.data.setting_grid import SettingGrid, seed_mean
from fisherscope.analysis.data.setting_of_run import setting_name
from fisherscope.analysis.data.settings import FloatArray, Settings
from fisherscope.analysis.errors import AnalysisError
from fisherscope.analysis.stats.hypothesis_tests import Difference, paired_difference

_STAGED = re.compile(r"s(\d+)-to-(\d+)(.*)")
MARGIN = 0.1
"""Share of the distance between the end beacons within which two log C̄ are equal (docs/evidence.md)."""


def claim_7_path_dependence(source: Settings, grid: SettingGrid) -> Claim:
    """Test claim 7: up and down the same sizes ends with the same C̄ and different L; travel is across.

    C̄ is that by steps; by epochs, as the text of eq. 7 counts, it stands beside.

    Args:
        source: Finished runs.
        grid: Those of constant batch sizes.

    Returns:
        The claim; not testable without a schedule, its reverse and their beacons.
    """
    text = "s32-to-512 and s512-to-32 end with the same C̄_K and different L_K, travelling across the beacons"
    pairs = list(_reversed_pairs(source))
    comparisons = [
        comparison
        for up, down in pairs
        if (comparison := _paired_differences(source, grid, up, down)) is not None
    ]
    if not comparisons:
        return Claim(7, text, reason=_no_pair(pairs, "a schedule and its reverse"))
    up, down, cond, energy, allowance = comparisons[0]
    parts = [
        _equal(f"log2 C̄ of {up} minus {down}, margin {allowance:.3g}", cond, allowance),
        _different(f"log2 L of {up} minus {down}", energy),
    ]
    rate = float(source.frame.filter(pl.col("setting") == up)["lr"][0])
    if (angle := travel_angle(source, rate, grid.x, grid.y)) is not None:
        parts.append(angle)
    parts += _by_epochs(source, grid, up, down, rate)
    parts += [part for name in (up, down) for part in _mixture(source, grid, name)]
    return Claim(
        7, text, tuple(parts), "For comparison: the prediction from the mixture of beacons over the stages."
    )


def claim_10_restarts(source: Settings, grid: SettingGrid) -> Claim:
    """Test claim 10: -MS has less L than -∅ at a similar C̄."""
    text = "-MS limits the growth of L_K more than -∅, at a similar C̄_K"
    names = set(source.frame["setting"].to_list())
    pairs = [(name, name.replace("-MS", "", 1)) for name in sorted(names) if "-to-" in name and "-MS" in name]
    pairs = [pair for pair in pairs if pair[1] in names]
    comparisons = [
        comparison
        for ms, whole in pairs
        if (comparison := _paired_differences(source, grid, ms, whole)) is not None
    ]
    if not comparisons:
        return Claim(10, text, reason=_no_pair(pairs, "a schedule with -MS and without"))
    parts = []
    for ms, whole, cond, energy, allowance in comparisons:
        less = energy.p_below(0.0)
        parts.append(
            Evidence(
                f"log2 L of {ms} minus {whole}",
                energy.estimate,
                energy.low,
                energy.high,
                _seeds(energy),
                less,
                1 - less,
                minimum=-math.inf,
            )
        )
        parts.append(_equal(f"log2 C̄ of {ms} minus {whole}, margin {allowance:.3g}", cond, allowance))
    return Claim(10, text, tuple(parts))


def claim_11_error_variation(grid: SettingGrid, metric: str) -> Claim:
    """Test claim 11: error curves vary more than those of the measures, seed by seed."""
    text = "Error curves are less stable than (C̄_K, L_K)"
    try:
        curves = [_roughness(grid, name) for name in (metric, grid.x, grid.y)]
    except AnalysisError as error:
        return Claim(11, text, reason=str(error))
    parts = []
    for name, values in (("C̄", curves[1]), ("L", curves[2])):
        differences = seed_mean((curves[0] - values).T)
        differences = differences[np.isfinite(differences)]
        if len(differences) < 2:
            return Claim(11, text, reason="Needs two seeds of curves of at least four epochs.")
        parts.append(_more(f"roughness of the metric minus that of {name}", paired_difference(differences)))
    return Claim(11, text, tuple(parts), "Roughness: 1 − |net change| / sum of |changes|.")


def claim_12_early_energy(grid: SettingGrid, last: int) -> Claim:
    """Test claim 12: more L in the first half; C̄ steadier in the first half."""
    text = "Beacons gather L_K faster in the first half; C̄_K is steady there and changes in the second"
    early, middle = max(1, round(0.1 * last)), last // 2
    if middle <= early or len(grid.seeds) < 2:
        return Claim(12, text, reason=f"Needs two seeds and several epochs; found {last} epochs.")
    energy = [grid.values(grid.y, epoch) for epoch in (middle, last)]
    cond = [np.log2(grid.values(grid.x, epoch)) for epoch in (early, middle, last)]
    excess = seed_mean(((2 * energy[0] - energy[1]) / energy[1]).T)
    drift = seed_mean((np.abs(cond[2] - cond[1]) - np.abs(cond[1] - cond[0])).T)
    excess, drift = (values[np.isfinite(values)] for values in (excess, drift))
    if min(len(excess), len(drift)) < 2:
        return Claim(12, text, reason=f"Fewer than two seeds have epochs {early}, {middle}, {last}.")
    parts = (
        _more("L of the first half minus the second, share of all", paired_difference(excess)),
        _more("|change of log2 C̄| in the second half minus the first", paired_difference(drift)),
    )
    return Claim(12, text, parts, "A decaying learning rate alone causes the first part: check the schedule.")


def _reversed_pairs(source: Settings) -> Iterator[tuple[str, str]]:
    names = set(source.frame["setting"].to_list())
    for name in sorted(names):
        match = _STAGED.fullmatch(name)
        if match and int(match[1]) < int(match[2]):
            back = f"s{match[2]}-to-{match[1]}{match[3]}"
            if back in names:
                yield name, back


def _by_epochs(source: Settings, grid: SettingGrid, up: str, down: str, rate: float) -> list[Evidence]:
    """Return the same figures with C̄ by epochs, for comparison; none where C̄ is by epochs already."""
    if grid.x.endswith("_epochs"):
        return []
    try:
        comparison = _paired_differences(source, grid, up, down, BY_EPOCHS)
        angle = travel_angle(source, rate, BY_EPOCHS, grid.y)
    except AnalysisError:
        return []
    parts = []
    if comparison is not None:
        name = f"log2 C̄ by epochs of {up} minus {down}, margin {comparison[4]:.3g}"
        parts.append(_equal(name, comparison[2], comparison[4]))
    if angle is not None:
        parts.append(replace(angle, name=f"{angle.name}, C̄ by epochs"))
    return [replace(part, beside=True) for part in parts]


def _paired_differences(
    source: Settings, grid: SettingGrid, one: str, other: str, across: str | None = None
) -> tuple[str, str, Difference, Difference, float] | None:
    """Compare two schedules seed by seed.

    Returns:
        Their names, differences of log2 C̄ and log2 L, and the beacons' margin; None if seeds are missing.
    """
    differences, across = [], across or grid.x
    for name in (across, grid.y):
        frame = source.frame.join(at_epoch(source, name), on="run_id").filter(pl.col("value") > 0)
        sides = [
            frame.filter(pl.col("setting") == s).select("seed", pl.col("value").log(2)) for s in (one, other)
        ]
        both = sides[0].join(sides[1], on="seed")
        if len(both) < 2:
            return None
        differences.append(paired_difference((both["value"] - both["value_right"]).to_numpy()))
    match = _STAGED.match(one)
    rates = source.frame.filter(pl.col("setting") == one)["lr"].drop_nulls()
    if match is None or not len(rates):
        return None
    ends = [setting_name(int(match[k]), float(rates[0])) for k in (1, 2)]
    if not set(ends) <= set(grid.names):
        return None
    logs = seed_mean(grid.logs(across))
    distance = abs(logs[grid.names.index(ends[1])] - logs[grid.names.index(ends[0])])
    return one, other, differences[0], differences[1], MARGIN * float(distance)


def _mixture(source: Settings, grid: SettingGrid, name: str) -> Iterator[Evidence]:
    """Yield how far the end of a schedule is from the mixture of its beacons' epochs (log2)."""
    run = source.frame.filter(pl.col("setting") == name)
    rows = source.epochs.filter(pl.col("run_id") == run["run_id"][0]).sort("epoch")
    if not {"batch_size", "step"} <= set(rows.columns):
        return
    lr = float(run["lr"][0])
    total = {grid.x: 0.0, grid.y: 0.0}
    steps = 0
    for epoch, size, steps_done in rows.select("epoch", "batch_size", "step").iter_rows():
        beacon = setting_name(int(size), lr)
        if beacon not in grid.names:
            return
        count, steps = steps_done - steps, steps_done
        total[grid.x] += count * _epoch_share(grid, beacon, grid.x, epoch)
        total[grid.y] += _epoch_share(grid, beacon, grid.y, epoch)
    for short, key, value in (("C̄", grid.x, total[grid.x] / max(steps, 1)), ("L", grid.y, total[grid.y])):
        end = run.join(at_epoch(source, key), on="run_id")["value"].mean()
        if isinstance(end, float) and end > 0 and value > 0:
            deviation = math.log2(end / value)
            text = f"log2 {short} of {name} over the beacons' mixture"
            yield Evidence(text, deviation, math.nan, math.nan, len(run), math.nan, beside=True)


def _epoch_share(grid: SettingGrid, name: str, key: str, epoch: int) -> float:
    """Return what a beacon added in one epoch: to L, or its mean c there."""
    row = grid.names.index(name)
    now = seed_mean(grid.values(key, epoch))[row]
    before = seed_mean(grid.values(key, epoch - 1))[row] if epoch > 1 else 0.0
    return float(now - before if key == grid.y else epoch * now - (epoch - 1) * before)


def _roughness(grid: SettingGrid, name: str) -> FloatArray:
    """Return 1 − |net change| / Σ|change| of a curve's logarithm: 0 for a monotone curve."""
    values = measure(grid.source, name).filter(pl.col("value") > 0).sort("epoch")
    rows = []
    for (run_id,), part in values.group_by("run_id", maintain_order=True):
        changes = np.diff(np.log(part["value"].to_numpy()))
        if len(changes) >= 3 and (total := float(np.abs(changes).sum())) > 0:
            rows.append({"run_id": str(run_id), "value": 1 - abs(float(changes.sum())) / total})
    return grid.to_array(pl.DataFrame(rows, schema={"run_id": pl.String, "value": pl.Float64}))


def _seeds(difference: Difference) -> int:
    return round(difference.freedom) + 1


def _equal(name: str, difference: Difference, allowance: float) -> Evidence:
    against = min(1.0, 2 * min(difference.p_above(allowance), 1 - difference.p_above(-allowance)))
    p = difference.p_equivalent(allowance)
    return Evidence(
        name,
        difference.estimate,
        difference.low,
        difference.high,
        _seeds(difference),
        p,
        against,
        minimum=-math.inf,
    )


def _different(name: str, difference: Difference) -> Evidence:
    return Evidence(
        name,
        difference.estimate,
        difference.low,
        difference.high,
        _seeds(difference),
        difference.p,
        math.nan,
        minimum=-math.inf,
    )


def _more(name: str, difference: Difference) -> Evidence:
    above = difference.p_above(0.0)
    return Evidence(
        name, difference.estimate, difference.low, difference.high, _seeds(difference), above, 1 - above
    )


def _no_pair(pairs: list[tuple[str, str]], what: str) -> str:
    if not pairs:
        return f"Needs {what} with two seeds, and the beacons at their ends; no such pair was found."
    names = ", ".join(" / ".join(pair) for pair in pairs[:3])
    return f"{names}: two common seeds and the beacons at both ends are needed."
