"""The values of a row in the optimizer's metric, and the scales that are averaged over a run."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fisherscope import measures
from fisherscope.gram import OptimizerMetric
from fisherscope.measures.nonzero_rules import FloatArray

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from fisherscope.gram import GramRecord

SUFFIX = "_optimizer"
_STATISTICS = ("fisher/trace", "fisher/effective_rank", *measures.INSTRUMENTS)
METRIC_VALUES = (
    *(key + SUFFIX for key in _STATISTICS), "noise/metric", "noise/metric_exact_share",
    "noise/metric_floored_share", "noise/metric_error",
)  # fmt: skip
"""Keys that a row of a monitor with `metric="optimizer"` has besides the others."""
CHECKED = 20
"""Measurements from one check of the rank-one forms to the next."""


def resolved_metric(metric: Any, optimizer: "Optimizer", measured: int) -> OptimizerMetric | None:
    """Return the metric of the next measurement.

    Args:
        metric: "optimizer", an `OptimizerMetric`, or None.
        optimizer: The monitor's.
        measured: Measurements before this one: the first and every 20th check the rank-one forms.

    Returns:
        The metric as `record_gram` takes it.

    Raises:
        ValueError: It is something else.
    """
    if metric is None or isinstance(metric, OptimizerMetric):
        return metric
    if metric != "optimizer":
        raise ValueError(
            f"building a Monitor: metric={metric!r}; expected 'optimizer', or "
            "fs.gram.OptimizerMetric(optimizer)"
        )
    return OptimizerMetric(optimizer, check=measured % CHECKED == 0)


def metric_values(
    record: "GramRecord", lr: float, loss: float | None
) -> tuple[dict[str, Any], measures.Gradients | None]:
    """Compute the values of a row in the optimizer's metric.

    Args:
        record: A finished record that was asked for one.
        lr: Learning rate of the first group.
        loss: The batch's mean loss.

    Returns:
        Values by `METRIC_VALUES`, None where undefined, and the sums over F̃_P; None where there is none.

    Cost: the eigenvalues of an n×n matrix, O(n³).
    """
    metric = record.metric
    values: dict[str, Any] = dict.fromkeys(METRIC_VALUES)
    if metric is None:
        return values, None
    values["noise/metric"] = metric.name if metric.measured else f"{metric.name}: {metric.status}"
    if not metric.measured:
        return values, None
    gram: FloatArray = metric.gram.numpy()
    gradients = measures.Gradients(gram)
    statistics = {
        "fisher/trace": gradients.trace,
        "fisher/effective_rank": measures.effective_rank(np.linalg.eigvalsh(gram).clip(0.0)[::-1]),
        **measures.instruments(gram, lr, loss),
    }
    counts = {row.parameter: row.count for row in record.coverage}
    moved = {name: counts.get(name, 0) for name, form in metric.forms.items() if form != "left out"}
    total = max(sum(moved.values()), 1)
    values |= {key + SUFFIX: value for key, value in statistics.items()}
    values["noise/metric_exact_share"] = (
        sum(count for name, count in moved.items() if metric.forms[name] != "rank-one") / total
    )
    values["noise/metric_floored_share"] = (
        sum(count * metric.floored_share.get(name, 0.0) for name, count in moved.items()) / total
    )
    values["noise/metric_error"] = metric.error
    return values, gradients


@dataclass
class MetricTotals:
    """Average the noise scale in the optimizer's metric over a run, and both scales over a window."""

    run: measures.RunningNoise = field(default_factory=measures.RunningNoise)
    window: measures.NoiseWindow = field(default_factory=measures.NoiseWindow)
    euclidean: measures.NoiseWindow = field(default_factory=measures.NoiseWindow)
    asked: bool = False

    @property
    def parts(self) -> tuple[object, ...]:
        """The averages."""
        return self.run, self.window, self.euclidean

    def add(self, metric: measures.Gradients | None, euclidean: Any, steps: int, early: int) -> None:
        """Add a measurement.

        Args:
            metric: Sums in the optimizer's metric; None where it was not measured.
            euclidean: Sums over the Euclidean Gram.
            steps: Steps that it represents.
            early: Steps of the previous measurement's batch size after it.
        """
        if metric is None:
            return
        if early:
            self.run.credit_last(early)
        self.run.add(metric.variance, metric.signal, steps)
        self.window.add(metric.variance, metric.signal)
        self.euclidean.add(euclidean.variance, euclidean.signal)

    def totals(self) -> dict[str, float]:
        """Return the averages by the keys of a row; none where no metric was asked for."""
        if not self.asked:
            return {}
        return {
            "noise/scale_mean_optimizer": self.run.scale if self.run.weight else math.nan,
            "noise/scale_window": self.euclidean.scale,
            "noise/scale_window_optimizer": self.window.scale,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return everything, as JSON values."""
        return {
            "run": self.run.state_dict(), "window": self.window.state_dict(),
            "euclidean": self.euclidean.state_dict(), "asked": self.asked,
        }  # fmt: skip

    @classmethod
    def from_state_dict(cls, state: dict[str, Any] | None) -> "MetricTotals":
        """Build totals from what `state_dict` returned; None is the state of an earlier version."""
        if state is None:
            return cls()
        return cls(
            measures.RunningNoise(**state["run"]),
            measures.NoiseWindow(**state["window"]),
            measures.NoiseWindow(**state["euclidean"]),
            state["asked"],
        )
