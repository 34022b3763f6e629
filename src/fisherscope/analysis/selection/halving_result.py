"""The result of `choose`: the setting, how sure that is, and what it cost."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fisherscope.analysis.data.compared_metric import value_text
from fisherscope.analysis.data.cost_model import CostModel, Ratio, faster
from fisherscope.analysis.data.setting_of_run import setting_name
from fisherscope.analysis.data.settings import FloatArray
from fisherscope.analysis.selection.grid_edges import edges
from fisherscope.analysis.selection.halving_text import result_text
from fisherscope.analysis.selection.successive_halving import HalvingPlan, HalvingState
from fisherscope.analysis.stats.hypothesis_tests import Z80, share_deviation, share_interval

CLEARLY_FASTER = 1.1
"""Ratio of training times from which a rival is called faster."""


@dataclass(frozen=True)
class Candidate:
    """A setting that may be chosen, and its run."""

    run_id: str
    batch_size: int
    lr: float

    @property
    def name(self) -> str:
        """The setting's name as the paper writes it: `s32-lr0.1`."""
        return setting_name(self.batch_size, self.lr)


@dataclass(frozen=True)
class HalvingResult:
    """The state of successive halving and the setting it recommends; made by `choose`.

    Args:
        candidates: The settings, in the order of the grid.
        plan: The rungs.
        state: Comparisons made, what to train next, what was chosen.
        metric: Column of the epochs that settings are compared by.
        smaller: Whether smaller is better.
        values: The metric as recorded, shape (n, epochs + 1); NaN where it is missing.
        shown: C̄_K and L_K of each setting at each epoch, for information only.
        seconds: Modelled seconds of training of each setting, shape (n,); NaN where those of a step are
            not known.
        samples: Validation samples that the metric is a share of; None if it is no share.
        steps: Steps of each setting, shape (n,).
        model: The cost model behind `seconds`.
        reasons: Why runs were dropped, by run id; an empty text for those that diverged.
        dead: Why networks are dead, by run id (`fs.runs.dead_reason`), of runs that diverged or failed not.
            Their settings are ranked by the metric that they have.
    """

    candidates: tuple[Candidate, ...]
    plan: HalvingPlan
    state: HalvingState
    metric: str
    smaller: bool
    values: FloatArray
    shown: dict[str, FloatArray]
    seconds: FloatArray
    samples: int | None
    steps: FloatArray | None = None
    model: CostModel | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)
    dead: Mapping[str, str] = field(default_factory=dict)

    @property
    def spent_epochs(self) -> int:
        """Epochs trained."""
        return int(self.epochs_trained.sum())

    @property
    def epochs_trained(self) -> NDArray[np.int64]:
        """Epochs of each setting, shape (n,)."""
        return np.asarray((~np.isnan(self.values[:, 1:])).sum(axis=1), dtype=np.int64)

    @property
    def recommended(self) -> Candidate | None:
        """The setting that was finished; None before, or if all were lost."""
        return None if self.state.chosen is None else self.candidates[self.state.chosen]

    @property
    def value(self) -> float | None:
        """Final metric of the recommended setting."""
        chosen = self.state.chosen
        return None if chosen is None else float(self.values[chosen, self.plan.epochs])

    @property
    def interval(self) -> tuple[float, float] | None:
        """80 % interval of that metric, from the number of validation samples alone."""
        if self.value is None or self.samples is None:
            return None
        return share_interval(self.value, self.samples)

    @property
    def rivals(self) -> list[tuple[Candidate, int]]:
        """Settings statistically tied with the chosen one at their last comparison, and its epoch.

        Best first, the last comparison before earlier ones; empty if the metric's noise is not known.
        """
        chosen, epochs = self.state.chosen, dict[int, int]()
        if chosen is None or self.samples is None:
            return []
        for comparison in reversed(self.state.rounds):
            values = self.values[:, comparison.epoch]
            for k in comparison.order[np.isfinite(values[comparison.order])].tolist():
                half_width = self._half_width(float(values[k]), float(values[chosen]), self.samples)
                worse = (values[k] - values[chosen]) * (1 if self.smaller else -1)
                last = self._last_compared(k) == comparison.epoch
                if k != chosen and k not in epochs and last and worse <= half_width:
                    epochs[k] = comparison.epoch
        return [(self.candidates[k], epoch) for k, epoch in epochs.items()]

    @property
    def fastest(self) -> tuple[Candidate, Ratio] | None:
        """The fastest rival, and how many times faster it trains; None unless clearly, by a tenth or more.

        Equal batch sizes take equal steps, so none of them is faster.
        """
        model, best = self.model, self.recommended
        if model is None or best is None:
            return None
        pace = [(model.per_sample(rival.batch_size), rival) for rival, _ in self.rivals]
        known = [(duration.seconds, rival) for duration, rival in pace if math.isfinite(duration.seconds)]
        if not known or not math.isfinite(model.per_sample(best.batch_size).seconds):
            return None
        rival = min(known, key=lambda pair: pair[0])[1]
        ratio = faster(model.per_sample(best.batch_size), model.per_sample(rival.batch_size), CLEARLY_FASTER)
        return None if ratio is None else (rival, ratio)

    @property
    def fewest_steps(self) -> Candidate | None:
        """The rival of the largest batch size, if larger than the chosen one: it takes the fewest steps."""
        best = self.recommended
        larger = [c for c, _ in self.rivals if best is not None and c.batch_size > best.batch_size]
        return max(larger, key=lambda c: c.batch_size) if larger else None

    @property
    def better_at(self) -> tuple[int, float] | None:
        """Epoch and value at which the chosen one was better than at its end, beyond noise.

        It was chosen there for that value. None also if the metric's noise is not known.
        """
        chosen, samples, end = self.state.chosen, self.samples, self.value
        if chosen is None or end is None or samples is None or not self.state.rounds:
            return None
        values = self.values[chosen, [comparison.epoch for comparison in self.state.rounds]]
        k = int(np.argmin(values if self.smaller else -values))
        best = float(values[k])
        worse = (end - best) * (1 if self.smaller else -1) > self._half_width(end, best, samples)
        return (self.state.rounds[k].epoch, best) if worse else None

    @property
    def edges(self) -> list[tuple[str, float, float]]:
        """Axes at whose end the chosen one lies: name, value there, and what to try beyond."""
        if self.state.chosen is None:
            return []
        sizes = np.array([c.batch_size for c in self.candidates], dtype=np.float64)
        return edges(sizes, np.array([c.lr for c in self.candidates]), self.state.chosen)

    @property
    def lost(self) -> list[Candidate]:
        """Settings without a metric where they were compared: diverged or failed."""
        places = [k for r in self.state.rounds for k in r.order[~np.isfinite(r.values)].tolist()]
        return [self.candidates[k] for k in places]

    def answer(self) -> dict[str, Any]:
        """Return plain values, for JSON.

        Returns:
            The recommended setting with its metric and interval, what it is tied with, every comparison,
            and the epochs and seconds spent.
        """
        best, worse = self.recommended, self.better_at
        return {
            "recommended": None if best is None else vars(best) | {"setting": best.name},
            "metric": self.metric,
            "value": self.value,
            "interval": self.interval,
            "not_distinguishable": [{"setting": c.name, "at_epoch": e} for c, e in self.rivals],
            "better_at": None if worse is None else dict(zip(("epoch", "value"), worse, strict=True)),
            "fastest": None if self.fastest is None else self.fastest[0].name,
            "edges": [{"axis": a, "value": v, "try": t} for a, v, t in self.edges],
            "comparisons": [
                {
                    "epoch": r.epoch, "compared": len(r.order),
                    "kept": [self.candidates[k].name for k in r.order[: r.survivors].tolist()],
                }
                for r in self.state.rounds
            ],
            "lost": [c.name for c in self.lost],
            "dead": {c.name: self.dead[c.run_id] for c in self.candidates if c.run_id in self.dead},
            "spent_epochs": self.spent_epochs,
            "allowed_epochs": self.plan.allowed,
            "all_epochs": len(self.candidates) * self.plan.epochs,
            "steps": None if self.steps is None else float(self.steps.sum()),
            "seconds": self.all_seconds,
        }  # fmt: skip

    def __str__(self) -> str:
        return result_text(self)

    @property
    def all_seconds(self) -> float | None:
        """Modelled seconds of all training; None where the seconds of a step are not known."""
        trained = self.seconds[self.epochs_trained > 0]
        return float(trained.sum()) if len(trained) and np.isfinite(trained).all() else None

    def text(self, value: float) -> str:
        """Format a value of the metric.

        Args:
            value: As in `values`.

        Returns:
            In per cent with two decimals if the metric is a share, else with four digits.
        """
        return value_text(float(value), self.metric)

    def _half_width(self, one: float, other: float, samples: int) -> float:
        """Return the half-width of the 80 % interval of the difference of two shares."""
        return Z80 * math.hypot(share_deviation(one, samples), share_deviation(other, samples))

    def _last_compared(self, k: int) -> int:
        """Return the epoch at which a setting was last compared."""
        return max(r.epoch for r in self.state.rounds if k in r.order)
