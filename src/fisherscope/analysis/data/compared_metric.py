"""The metric that settings are compared by: which one, which way it is better, how values are written."""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fisherscope.analysis.data.labels import is_rate, metric_kind
from fisherscope.analysis.errors import AnalysisError

HIGHER_IS_BETTER = ("accuracy", "acc", "top1", "top5", "f1", "auc", "bleu", "r2")
PREFERRED = ("val/error", "val/loss", "test/error", "test/loss")
"""Metrics taken when none is named: validation before test (docs/evidence.md, rule 1)."""


def compared_metric(
    recorded: Sequence[str], configs: pl.DataFrame, name: str | None, describe: Callable[[], str]
) -> tuple[str, bool]:
    """Choose the column of the epochs that settings are compared by.

    Args:
        recorded: Columns of the epochs.
        configs: The runs with their configurations, `Runs.runs`.
        name: Column, or its last part; by default the task's metric, else the first one of `PREFERRED`
            that was recorded.
        describe: Returns what the runs are, for the error.

    Returns:
        The column, and whether smaller is better.

    Raises:
        AnalysisError: There is no such column.
    """
    columns = [c for c in recorded if c.partition("/")[0] in ("train", "val", "test")]
    if name is None:
        declared = _config_column(configs, "metric")
        preferred = [f"val/{declared}", f"test/{declared}"] if declared else []
        name = next((c for c in (*preferred, *PREFERRED) if c in columns), None)
    elif name not in columns and f"val/{name}" in columns:
        name = f"val/{name}"
    if name is None or name not in columns:
        missing = f"there is no {name}" if name else f"there is none of {', '.join(PREFERRED)}"
        raise AnalysisError(
            f"reading the metric of {describe()}: {missing} among the epochs' columns "
            f"({', '.join(columns) or 'no epoch has a metric'}); log it by "
            "run.log_epoch(val_error=…), or name another one by metric="
        )
    smaller = metric_kind(name) not in HIGHER_IS_BETTER
    direction = _config_column(configs, "direction")
    if direction and metric_kind(name) == _config_column(configs, "metric"):
        smaller = direction != "max"
    return name, smaller


def is_share(metric: str, values: NDArray[np.float64]) -> bool:
    """Return whether a metric is a share of the samples: an error rate or an accuracy within 0 and 1."""
    finite = values[np.isfinite(values)]
    return is_rate(metric) and not ((finite < 0) | (finite > 1)).any()


def value_text(value: object, metric: str) -> str:
    """Format a value of a metric, in per cent if it is a share."""
    if not isinstance(value, float):
        return "?"
    return f"{100 * value:.2f} %" if is_rate(metric) else f"{value:.4g}"


def metric_text(name: str) -> str:
    """Name a metric in words: `val/error` is the validation error."""
    return name.replace("val/", "validation ").replace("test/", "test ")


def _config_column(frame: pl.DataFrame, key: str) -> str | None:
    """Return the one value of a column of the configurations; None if there are several."""
    if key not in frame.columns:
        return None
    values = {str(value) for value in frame[key].to_list() if value is not None}
    return next(iter(values)) if len(values) == 1 else None
