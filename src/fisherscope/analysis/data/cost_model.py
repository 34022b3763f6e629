"""Seconds of a step by batch size: the only source of every time that a screen shows.

Seconds on the clock of runs that trained side by side compare what else the machine did, so they are never
used. `cost_estimation` makes a model from runs.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from fisherscope.analysis.data.settings import FloatArray

Kind = Literal["interleaved", "process"]
REACH = 0.5
"""Share of the smallest known batch size down to which seconds are extrapolated (an epoch's last, smaller
batch)."""


class Ratio(NamedTuple):
    """A ratio of times with its 95 % interval; NaN bounds where there is no interval."""

    estimate: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """The ratio with its interval, such as `1.3 (1.2 to 1.4)`."""
        if not math.isfinite(self.low):
            return f"{self.estimate:.2g}"
        return f"{self.estimate:.3g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True)
class CostModel:
    """Seconds of a step at some batch sizes, linear between them.

    Args:
        kind: `interleaved` (measured in turn, for claims too) or `process` (CPU seconds of the runs' own
            processes, for screens only).
        sizes: Batch sizes, ascending, shape (k,); means over an epoch where its last batch is smaller.
        seconds: Seconds of an unmeasured step, shape (k,).
        extra: Seconds that measuring adds to a step, shape (k,); NaN where they are not known.
        draws: Bootstrap draws of `seconds`, shape (d, k).
        extra_draws: The same of `extra`.
        origin: Where the seconds come from, in words.
    """

    kind: Kind
    sizes: FloatArray
    seconds: FloatArray
    extra: FloatArray
    draws: FloatArray
    extra_draws: FloatArray
    origin: str

    def weights(self, sizes: FloatArray, steps: FloatArray) -> FloatArray:
        """Distribute steps over the known sizes, so that seconds = weights @ `seconds`.

        Args:
            sizes: Batch sizes, shape (m,).
            steps: Steps of each, shape (m,).

        Returns:
            Shape (k,); NaN if a size is above the known ones, or far below them.
        """
        out = np.zeros(len(self.sizes))
        if not len(sizes):
            return out
        low, high = REACH * self.sizes[0], self.sizes[-1] * (1 + 1e-9)
        if not np.isfinite(sizes).all() or sizes.min() < low or sizes.max() > high:
            return out * math.nan
        if len(self.sizes) == 1:
            return np.full(1, float(steps.sum()))
        right = np.clip(np.searchsorted(self.sizes, sizes), 1, len(self.sizes) - 1)
        left = right - 1
        share = (sizes - self.sizes[left]) / (self.sizes[right] - self.sizes[left])
        np.add.at(out, left, steps * (1 - share))
        np.add.at(out, right, steps * share)
        return out

    def per_sample(self, size: float) -> "Duration":
        """Return the seconds that a sample takes at a batch size."""
        return Duration(self, self.weights(np.array([float(size)]), np.array([1.0 / size])), None)

    @property
    def note(self) -> str:
        """What a reader of the times must know, in a sentence."""
        if self.kind == "interleaved":
            return f"Times: steps × seconds a step, {self.origin}."
        return (
            f"Times: steps × seconds a step, {self.origin}. For comparisons that count: fisherscope "
            "times DIR (measures all sizes in turn)."
        )


@dataclass(frozen=True)
class Duration:
    """Seconds of some work by a cost model, comparable with others by the same model.

    Args:
        model: The model.
        plain: Weights of unmeasured seconds, shape (k,).
        extra: Weights of the seconds that measuring adds, where the work cannot do without it.
    """

    model: CostModel
    plain: FloatArray
    extra: FloatArray | None

    @property
    def seconds(self) -> float:
        """Seconds; NaN where the model does not know a batch size."""
        seconds = float(self.plain @ self.model.seconds)
        return seconds if self.extra is None else seconds + float(self.extra @ self.model.extra)

    def draws(self) -> FloatArray:
        """Return bootstrap draws of the seconds, shape (d,)."""
        draws = self.model.draws @ self.plain
        return draws if self.extra is None else draws + self.model.extra_draws @ self.extra

    def over(self, other: "Duration") -> Ratio:
        """Return this over another as a ratio with its interval; exactly 1 for the same work."""
        if _same(self.plain, other.plain) and _same(self.extra, other.extra):
            return Ratio(1.0, 1.0, 1.0)
        draws = self.draws() / other.draws()
        if not np.isfinite(draws).all() or np.ptp(draws) == 0:
            return Ratio(self.seconds / other.seconds, math.nan, math.nan)
        low, high = np.percentile(draws, [2.5, 97.5])
        return Ratio(self.seconds / other.seconds, float(low), float(high))


NO_TIMES = "Seconds a step are not known, so steps are compared; fisherscope times DIR measures them."
"""Note where there is no cost model."""


def faster(slow: Duration | None, fast: Duration | None, at_least: float) -> Ratio | None:
    """Return how many times faster one is; None unless that is at least so much, and its interval above 1.

    Args:
        slow: The slower one.
        fast: The faster one.
        at_least: Ratio below which nothing is called faster.
    """
    if slow is None or fast is None:
        return None
    ratio = slow.over(fast)
    certain = ratio.low > 1 or not math.isfinite(ratio.low)
    return ratio if ratio.estimate >= at_least and certain else None


def _same(one: FloatArray | None, other: FloatArray | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool(np.allclose(one, other, rtol=1e-9, atol=0.0))
