"""Estimate the seconds of a step by batch size, from an interleaved measurement or from process times."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from fisherscope.analysis.data.cost_model import CostModel
from fisherscope.analysis.data.settings import FloatArray
from fisherscope.runs.reader import Runs
from fisherscope.runs.step_times import StepTimesRecord, matching_record

DRAWS = 999
SEED = 0
PLAIN, PLAIN_STEPS, MEASURED = "time/plain_process_s", "time/plain_steps", "time/measured_process_s"
NORMAL_QUARTILES = 1.349
"""Interquartile range of a normal distribution, in standard deviations."""
MEDIAN_ERROR = 1.2533
"""Standard error of a median over that of a mean (normal distribution)."""


def cost_model(runs: Runs) -> CostModel | None:
    """Make the cost model of runs: from an interleaved measurement, else from their process times.

    Args:
        runs: Runs of one task.

    Returns:
        The model; None if neither was recorded, or the runs do not agree on device, task or threads.
    """
    if not len(runs):
        return None
    configs = [runs.head(run_id)["config"] for run_id in runs.paths]
    recorded = [matching_record(runs.step_times, config) for config in configs]
    if recorded[0] is not None and all(record == recorded[0] for record in recorded):
        return interleaved_model(recorded[0])
    return process_model(runs.epochs)


def interleaved_model(record: StepTimesRecord) -> CostModel:
    """Make the cost model of an interleaved measurement.

    Intervals are of the median over rounds: resampled rounds, the same of all sizes, or where rounds were
    not kept a normal distribution by the interquartile range.

    Args:
        record: What was measured.

    Returns:
        The model.
    """
    sizes, numbers = record.sizes, np.random.default_rng(SEED)
    plain, plain_draws = _medians(
        sizes, record.plain, record.medians, record.quartiles, record.rounds, numbers
    )
    numbers = np.random.default_rng(SEED)  # the same rounds
    measured, measured_draws = _medians(
        sizes, record.measured, record.measured_medians, {}, record.rounds, numbers
    )
    facts = record.environment
    threads = record.config.get("threads")
    where = [
        str(facts.get("gpu") or record.config.get("device")), f"{threads} thread" if threads == 1 else "",
        f"torch {facts['torch']}" if facts.get("torch") else "",
    ]  # fmt: skip
    origin = f"measured in turn over all sizes ({', '.join(filter(None, where))})"
    return CostModel(
        "interleaved", np.array(sizes, dtype=np.float64), plain, measured - plain, plain_draws,
        measured_draws - plain_draws, origin,
    )  # fmt: skip


def process_model(epochs: pl.DataFrame) -> CostModel | None:
    """Make the cost model of process times: CPU seconds a step, pooled over all runs of a size.

    The first epoch of a run that has others is left out; epochs in which the size changes too. The seconds
    of a size are the median over its runs, the interval that of resampled runs.

    Args:
        epochs: Epoch rows of runs.

    Returns:
        The model; None where no process time was recorded.
    """
    needed = {"run_id", "epoch", "step", "samples", "batch_size", PLAIN, PLAIN_STEPS}
    if not needed <= set(epochs.columns):
        return None
    rows = work_by_epoch(epochs).filter(pl.col(PLAIN_STEPS) > 0, pl.col("constant"))
    rows = rows.filter((pl.col("epoch") > 1) | (pl.col("epoch").max().over("run_id") == 1))
    by_run = rows.group_by("size", "run_id").agg(
        (pl.col(PLAIN).sum() / pl.col(PLAIN_STEPS).sum()).alias("plain"),
        (pl.col(MEASURED).sum() / (pl.col("steps") - pl.col(PLAIN_STEPS)).sum()).alias("measured"),
    )
    if not len(by_run):
        return None
    numbers = np.random.default_rng(SEED)
    columns = []
    for (size,), part in by_run.sort("size", "run_id").group_by("size", maintain_order=True):
        values = part.select("plain", "measured").to_numpy().astype(np.float64)
        chosen = numbers.integers(len(values), size=(DRAWS, len(values)))
        columns.append(
            (float(str(size)), np.median(values, axis=0), np.median(values[chosen], axis=1), len(values))
        )
    sizes = np.array([size for size, *_ in columns])
    middle = np.array([median for _, median, _, _ in columns])
    draws = np.array([drawn for _, _, drawn, _ in columns])
    count = sum(n for *_, n in columns)
    origin = (
        f"CPU seconds of {count} runs' processes, median at each size (runs may have trained side by side)"
    )
    return CostModel(
        "process", sizes, middle[:, 0], middle[:, 1] - middle[:, 0], draws[:, :, 0].T,
        (draws[:, :, 1] - draws[:, :, 0]).T, origin,
    )  # fmt: skip


def work_by_epoch(epochs: pl.DataFrame) -> pl.DataFrame:
    """Add the steps of each epoch and their mean batch size.

    Args:
        epochs: Epoch rows with `run_id, epoch, step, samples`; `batch_size` where it is known.

    Returns:
        The rows with `steps`, `size` (samples over steps), and `constant`: whether all but an epoch's last
        batch had the size `batch_size`.
    """
    rows = epochs.drop_nulls(["step", "samples"]).sort("run_id", "epoch")
    before = [pl.col(c).shift(1).over("run_id").fill_null(0) for c in ("step", "samples")]
    rows = rows.with_columns(
        (pl.col("step") - before[0]).alias("steps"), (pl.col("samples") - before[1]).alias("new_samples")
    ).filter(pl.col("steps") > 0)
    rows = rows.with_columns((pl.col("new_samples") / pl.col("steps")).alias("size"))
    if "batch_size" not in rows.columns:
        return rows.with_columns(pl.lit(None, pl.Boolean).alias("constant"))
    batches = (pl.col("new_samples") / pl.col("batch_size")).ceil()
    return rows.with_columns((batches == pl.col("steps")).alias("constant"))


def _medians(
    sizes: Sequence[int],
    rounds: Mapping[int, Sequence[float]],
    medians: Mapping[int, float],
    quartiles: Mapping[int, float],
    count: int,
    numbers: Any,
) -> tuple[FloatArray, FloatArray]:
    """Return the median seconds of each size (k,) and draws of them (d, k); NaN where there are none."""
    middle, draws = np.full(len(sizes), math.nan), np.full((DRAWS, len(sizes)), math.nan)
    fewest = min((len(values) for values in rounds.values()), default=0)
    shared = numbers.integers(fewest, size=(DRAWS, fewest)) if fewest else None
    for k, size in enumerate(sizes):
        if shared is not None and len(rounds.get(size, ())):
            values = np.asarray(rounds[size], dtype=np.float64)
            middle[k], draws[:, k] = np.median(values), np.median(values[shared], axis=1)
        elif size in medians:
            deviation = quartiles.get(size, 0.0) / NORMAL_QUARTILES * MEDIAN_ERROR / math.sqrt(max(count, 1))
            middle[k], draws[:, k] = medians[size], medians[size] + deviation * numbers.standard_normal(DRAWS)
    return middle, draws
