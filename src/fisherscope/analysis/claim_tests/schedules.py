"""Claim 13: a schedule of batch sizes is as good as the best fixed size, and faster."""

import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fisherscope.analysis.claim_tests.verdicts import Claim, Evidence
from fisherscope.analysis.data.cost_model import Duration
from fisherscope.analysis.data.run_measures import at_epoch
from fisherscope.analysis.data.run_times import RunTimes, run_times
from fisherscope.analysis.data.settings import Settings
from fisherscope.analysis.landscapes.plane import margin
from fisherscope.analysis.stats.hypothesis_tests import paired_difference

TEXT_13 = "A schedule of batch sizes is as good as the best fixed size, and faster"
BAR = 0.8
"""Ratio of times that was fixed for the comparison of dynamic sampling, beside the claim's own bar of 1."""
FEWEST_SEEDS = 3


def claim_13_schedules(source: Settings, metric: str, smaller: bool) -> Claim:
    """Test claim 13: equivalence of the final metric, and the ratio of modelled times below 1.

    The first half of the common seeds chooses, by the validation metric: at each learning rate the best
    fixed size; the rate whose best one is best; and among the schedules at that rate within the margin of it
    the one of least time, or if none is, the best. The other seeds judge, by the test metric if there is one.

    Args:
        source: Finished runs of fixed sizes and schedules.
        metric: The validation metric.
        smaller: Whether smaller is better.

    Returns:
        The claim; not testable without schedules, three common seeds, or interleaved seconds a step.
    """
    times = run_times(source.runs)
    if times.model is None or times.model.kind != "interleaved":
        return Claim(13, TEXT_13, reason="Needs seconds a step measured in turn: fisherscope times DIR.")
    frame = source.frame.join(at_epoch(source, metric).rename({"value": "picks"}), on="run_id")
    shown = f"test/{metric.rpartition('/')[2]}"
    shown = shown if shown in source.epochs.columns else metric
    frame = frame.join(at_epoch(source, shown).rename({"value": "shown"}), on="run_id")
    if not smaller:
        frame = frame.with_columns(-pl.col("picks"), -pl.col("shown"))
    everything, (frame, seeds) = frame, _common(frame)
    if len(seeds) < FEWEST_SEEDS:
        return Claim(13, TEXT_13, reason=_missing_text(everything, seeds))
    choosing, judging = seeds[: len(seeds) // 2], seeds[len(seeds) // 2 :]
    pair = _choose(frame.filter(pl.col("seed").is_in(choosing)), times, metric)
    if pair is None:
        return Claim(
            13, TEXT_13, reason="No schedule shares its learning rate with a fixed size that was timed."
        )
    reference, schedule = pair
    judged = frame.filter(pl.col("seed").is_in(judging))
    one, other = (
        judged.filter(pl.col("setting") == name).sort("seed")["shown"] for name in (schedule, reference)
    )
    difference = paired_difference((one - other).to_numpy())
    allowance = margin(abs(float(other.to_numpy().mean())), shown)
    durations = [_duration(judged, times, name) for name in (schedule, reference)]
    return Claim(
        13, TEXT_13,
        (
            Evidence(
                f"{shown} of {schedule} minus {reference}, margin {allowance:.3g}", difference.estimate,
                difference.low, difference.high, len(judging), difference.p_below(allowance),
                difference.p_above(allowance), minimum=-math.inf,
            ),
            *_time_parts(durations, schedule, reference),
        ),
        f"Chosen on seeds {_list(choosing)} by {metric}, judged on {_list(judging)}. {times.model.note}",
    )  # fmt: skip


def _time_parts(durations: list[Duration | None], schedule: str, reference: str) -> tuple[Evidence, ...]:
    """Test that the ratio of times is below 1, and beside it below the earlier bar."""
    mine, base = durations
    assert mine is not None  # the choice was by these times
    assert base is not None
    ratio, draws = mine.over(base), mine.draws() / base.draws()
    name = f"time of {schedule} over {reference}"
    count = len(mine.model.draws)

    def share(inside: NDArray[np.bool_]) -> float:
        return float((1 + inside.sum()) / (1 + len(draws)))

    return (
        Evidence(name, *ratio, count, share(draws >= 1), share(draws <= 1), minimum=-math.inf),
        Evidence(f"{name}, at most {BAR:g}", *ratio, count, share(draws > BAR), beside=True),
    )


def _choose(frame: pl.DataFrame, times: RunTimes, metric: str) -> tuple[str, str] | None:
    """Choose reference and schedule on the seeds of `frame`, by `picks` and modelled time."""
    means = frame.group_by("setting", "fixed", "lr", maintain_order=True).agg(pl.col("picks").mean())
    timed = [s for s in means["setting"].to_list() if _duration(frame, times, s) is not None]
    means = means.filter(pl.col("setting").is_in(timed), pl.col("lr").is_not_null())
    schedules = means.filter(~pl.col("fixed"))
    fixed = means.filter(pl.col("fixed"), pl.col("lr").is_in(schedules["lr"].to_list()))
    if not len(fixed):
        return None
    best = fixed.sort("picks", maintain_order=True).row(0, named=True)
    allowed = best["picks"] + margin(abs(best["picks"]), metric)
    at_rate = schedules.filter((pl.col("lr") - best["lr"]).abs() <= 1e-9 * best["lr"])
    good = at_rate.filter(pl.col("picks") <= allowed)["setting"].to_list()
    if not good:
        return best["setting"], str(at_rate.sort("picks", maintain_order=True)["setting"][0])
    seconds = {name: _seconds(frame, times, name) for name in good}
    return best["setting"], min(good, key=lambda name: seconds[name])


def _duration(frame: pl.DataFrame, times: RunTimes, setting: str) -> Duration | None:
    return times.mean_duration(frame.filter(pl.col("setting") == setting)["run_id"].to_list())


def _seconds(frame: pl.DataFrame, times: RunTimes, setting: str) -> float:
    duration = _duration(frame, times, setting)
    return math.inf if duration is None else duration.seconds


def _common(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[int]]:
    """Keep the settings that can be compared seed by seed, at the schedules' learning rates.

    Returns:
        Their runs, and the seeds that all of them have: those of most settings. Settings without one of these
        are left out.
    """
    rates = frame.filter(~pl.col("fixed"))["lr"].to_list()
    frame = frame.filter(pl.col("lr").is_in(rates))
    seeds = frame.group_by("setting").agg(pl.col("seed").unique().sort())["seed"].to_list()
    most: list[int] = max(
        seeds, key=lambda own: (seeds.count(own) * (len(own) >= FEWEST_SEEDS), len(own)), default=[]
    )
    complete = pl.col("seed").is_in(most).sum().over("setting") == len(most)
    compared = frame.filter(complete, pl.col("seed").is_in(most))
    return (compared, most) if compared["fixed"].n_unique() == 2 else (compared, [])


def _missing_text(frame: pl.DataFrame, seeds: list[int]) -> str:
    if not len(frame.filter(~pl.col("fixed"))):
        return "Needs schedules and fixed sizes at the same learning rate; found no finished schedule."
    return (
        f"Needs {FEWEST_SEEDS} seeds of schedules and of the fixed sizes at their learning rate, one to "
        f"choose and two to judge; found {len(seeds)}."
    )


def _list(seeds: list[int]) -> str:
    return ", ".join(map(str, np.array(seeds).tolist()))
