"""Which measurement each step of a run counts with, and from when: weights of running means.

A measurement stands for the steps since the one before. Where the batch size changed between the two, the
steps before the change count with the earlier one, as `monitor.running_totals` credits them
(docs/decisions/076-a-gaps-steps-stay-in-their-stage.md): then a row's `steps_since` is smaller than its
distance from the row before. Runs of version 0.1 keep their rule: all steps of a gap count with its end.
"""

from typing import NamedTuple

import numpy as np
import polars as pl

from fisherscope.analysis.data.settings import FloatArray


class Credits(NamedTuple):
    """Weights of measurements in the order in which they begin to count.

    Args:
        rows: Number of the measurement, shape (m,).
        since: Steps done when the weight begins to count, ascending, shape (m,).
        steps: Steps that it stands for, shape (m,).
        epochs: Weight in proportion to the share of an epoch that these steps are, shape (m,); NaN where rows
            have neither `samples` nor `epoch`.
    """

    rows: FloatArray
    since: FloatArray
    steps: FloatArray
    epochs: FloatArray


def credited_steps(rows: pl.DataFrame) -> Credits:
    """Credit the steps of a run to its measurements.

    Args:
        rows: Its measured steps, those whose value counts, in order: `step`, and where recorded
            `steps_since`, `batch_size`, `samples`, `epoch`.

    Returns:
        The weights.
    """
    count = len(rows)
    number, own = _column(rows, "step"), _column(rows, "steps_since")
    sizes, epochs = _column(rows, "batch_size"), _column(rows, "samples")
    if not np.isfinite(epochs).all():
        epochs = _column(rows, "epoch")
    own = np.where(np.isfinite(own), own, 1.0)
    if not count:
        return Credits(*(np.zeros(0) for _ in range(4)))
    gaps = np.diff(number, prepend=-1.0)
    shares = np.diff(epochs, prepend=0.0)
    late = np.zeros(count)
    changed = np.zeros(count, dtype=bool)
    changed[1:] = (sizes[1:] != sizes[:-1]) & (own[1:] < gaps[1:]) & ("steps_since" in rows.columns)
    late[changed] = (gaps - own)[changed]
    before = np.concatenate([sizes[:1], sizes[:-1]])
    samples, late_samples = own * sizes, late * before
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(changed, late_samples / (samples + late_samples), 0.0)
    late_rows = np.flatnonzero(changed)
    since = np.concatenate([number + 1, (number + 1)[late_rows]])
    order = np.argsort(since, kind="stable")
    return Credits(
        np.concatenate([np.arange(count), late_rows - 1])[order].astype(np.float64),
        since[order],
        np.concatenate([own, late[late_rows]])[order],
        np.concatenate([shares * (1 - part), (shares * part)[late_rows]])[order],
    )


def _column(rows: pl.DataFrame, name: str) -> FloatArray:
    if name not in rows.columns:
        return np.full(len(rows), np.nan)
    values: FloatArray = rows[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
    return values
