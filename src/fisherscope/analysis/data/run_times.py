"""What runs took: steps, samples and, where the seconds of a step are known, modelled seconds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from fisherscope.analysis.data.cost_estimation import cost_model, work_by_epoch
from fisherscope.analysis.data.cost_model import CostModel, Duration
from fisherscope.analysis.data.settings import FloatArray
from fisherscope.policy import parse
from fisherscope.runs.reader import Runs


@dataclass(frozen=True)
class RunTimes:
    """Steps, samples and modelled seconds of training of each run; evaluation is not counted.

    Args:
        model: The cost model; None where the seconds of a step are not known.
        frame: `run_id, epochs, steps, samples, seconds` of each run that logged its steps.
        durations: Of each run; empty without a model.
    """

    model: CostModel | None
    frame: pl.DataFrame
    durations: dict[str, Duration]

    def mean_duration(self, run_ids: Sequence[str]) -> Duration | None:
        """Return the mean over runs, such as the seeds of a setting; None if it is not known."""
        durations = [self.durations[run_id] for run_id in run_ids if run_id in self.durations]
        if self.model is None or not durations:
            return None
        extras = [d.extra for d in durations if d.extra is not None]
        extra = np.sum(extras, axis=0) / len(durations) if extras else None
        duration = Duration(self.model, np.mean([d.plain for d in durations], axis=0), extra)
        return duration if math.isfinite(duration.seconds) else None


def run_times(runs: Runs) -> RunTimes:
    """Return what runs of one task took.

    A run takes its steps times the seconds of a step at their batch size, and the extra of its measured
    steps if its policy reads measurements.

    Args:
        runs: Runs.

    Returns:
        Steps, samples, and seconds as far as they are known.
    """
    model, epochs = cost_model(runs), runs.epochs
    durations: dict[str, Duration] = {}
    rows = []
    if {"step", "samples"} <= set(epochs.columns):
        closed = closed_loop_runs(runs)
        measured = _measured_steps(runs) if closed and model is not None else {}
        for (key,), part in work_by_epoch(epochs).group_by("run_id", maintain_order=True):
            run_id = str(key)
            work = part.select("size", "steps").to_numpy().astype(np.float64)
            duration = None
            if model is not None:
                extra = measured.get(run_id) if run_id in closed else None
                duration = Duration(
                    model, model.weights(work[:, 0], work[:, 1]),
                    None if extra is None else model.weights(extra, np.ones(len(extra))),
                )  # fmt: skip
                durations[run_id] = duration
            rows.append({
                "run_id": run_id, "epochs": len(part), "steps": float(work[:, 1].sum()),
                "samples": float(part["new_samples"].sum()),
                "seconds": _finite(duration.seconds) if duration is not None else None,
            })  # fmt: skip
    schema = {"run_id": pl.String, "epochs": pl.Int64} | dict.fromkeys(
        ("steps", "samples", "seconds"), pl.Float64
    )
    return RunTimes(model, pl.DataFrame(rows, schema=schema), durations)


def seconds_by_epoch(runs: Runs) -> pl.DataFrame:
    """Return the modelled seconds of training up to each epoch.

    Args:
        runs: Runs.

    Returns:
        `run_id, epoch, value`; nothing without a model.
    """
    model, schema = cost_model(runs), {"run_id": pl.String, "epoch": pl.Int64, "value": pl.Float64}
    if model is None or not {"step", "samples"} <= set(runs.epochs.columns):
        return pl.DataFrame(schema=schema)
    closed = closed_loop_runs(runs)
    measured = _measured_rows(runs) if closed else {}
    parts = []
    for (key,), part in work_by_epoch(runs.epochs).group_by("run_id", maintain_order=True):
        seconds = [
            float(model.weights(np.array([size]), np.array([steps])) @ model.seconds)
            for size, steps in part.select("size", "steps").iter_rows()
        ]
        total = np.cumsum(seconds)
        if str(key) in closed:
            total = total + _extra_by_epoch(model, part["step"].to_numpy(), *measured[str(key)])
        parts.append(part.select("run_id", "epoch").with_columns(pl.Series("value", total, pl.Float64)))
    return pl.concat(parts) if parts else pl.DataFrame(schema=schema)


def epoch_duration(model: CostModel, epochs: pl.DataFrame) -> Duration:
    """Return the duration of an epoch of runs with one constant batch size.

    Args:
        model: The cost model.
        epochs: Epoch rows of these runs.
    """
    rows = work_by_epoch(epochs)
    work = np.median(rows.select("size", "steps").to_numpy().astype(np.float64), axis=0)
    return Duration(model, model.weights(work[:1], work[1:]), None)


def closed_loop_runs(runs: Runs) -> set[str]:
    """Return the runs whose policy reads measurements, so that measuring is part of its time."""
    if "policy" not in runs.runs.columns:
        return set()
    return {
        run_id for run_id, name in runs.runs.select("run_id", "policy").iter_rows() if _reads_measures(name)
    }


def _reads_measures(name: object) -> bool:
    text = str(name or "")
    if text.startswith("beacon:"):
        return True
    try:
        return bool(text) and bool(parse(text, lr=1.0, epochs=1).closed_loop)
    except (ValueError, OSError):  # a policy of the user's own loop
        return False


def _measured_rows(runs: Runs) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Return the step numbers and batch sizes of each run's measured steps."""
    steps = runs.steps
    if not {"step", "batch_size"} <= set(steps.columns):
        return {run_id: (np.zeros(0), np.zeros(0)) for run_id in runs.paths}
    out = {run_id: (np.zeros(0), np.zeros(0)) for run_id in runs.paths}
    for (key,), part in steps.drop_nulls("batch_size").group_by("run_id", maintain_order=True):
        values = part.select("step", "batch_size").to_numpy().astype(np.float64)
        out[str(key)] = values[:, 0], values[:, 1]
    return out


def _measured_steps(runs: Runs) -> dict[str, FloatArray]:
    return {run_id: sizes for run_id, (_, sizes) in _measured_rows(runs).items()}


def _extra_by_epoch(model: CostModel, ends: FloatArray, steps: FloatArray, sizes: FloatArray) -> FloatArray:
    extra = np.array([float(model.weights(np.array([s]), np.ones(1)) @ model.extra) for s in sizes])
    return np.array([extra[steps < end].sum() for end in ends])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
