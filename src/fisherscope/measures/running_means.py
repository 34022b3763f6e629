"""Running means of a run: C̄_K and the noise scale. State is plain JSON."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np


@dataclass
class RunningCond:
    """Collect means and median of c_k, each measurement weighted by the steps it represents.

    C̄_K = Σ c_k·steps_k / Σ steps_k.

    Source: Liao et al. 2020, eq. 7, by steps; `epoch_mean` counts every epoch alike, as the text of eq. 7
    does; `paper_mean` is the unweighted mean over measurements, which their published code computes.

    Args:
        values: c_k of each measurement; without unit, at least 1.
        weights: Steps that each measurement represents.
        censored: Sum of c_k·steps_k over censored measurements.
        samples: Samples in the steps that each measurement represents; empty where they are not known.
        last_censored: Whether the last measurement was censored.

    Example:
        ```python
        running = fs.measures.RunningCond()
        running.add(4.0, steps=10)
        running.add(8.0, steps=30)
        assert (running.mean, running.paper_mean, running.median) == (7.0, 6.0, 8.0)
        ```
    """

    values: list[float] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)
    censored: float = 0.0
    samples: list[int] = field(default_factory=list)
    last_censored: bool = False

    def add(self, cond: float, steps: int, censored: bool = False, samples: int | None = None) -> None:
        """Add one measurement; one that is not finite is left out.

        Args:
            cond: c_k.
            steps: Steps that it represents.
            censored: Whether the true c_k may be larger.
            samples: Samples in these steps, for `epoch_mean`.

        Example:
            ```python
            fs.measures.RunningCond().add(4.0, steps=10)
            ```
        """
        if math.isfinite(cond) and steps > 0:
            self.values.append(cond)
            self.weights.append(steps)
            self.censored += cond * steps * censored
            self.last_censored = censored
            if samples is not None:
                self.samples.append(samples)

    def credit_last(self, steps: int, samples: int) -> None:
        """Credit more steps to the last measurement: those of its batch size that came after it.

        Args:
            steps: Steps of its batch size before the size changed.
            samples: Samples in them.

        Example:
            ```python
            running = fs.measures.RunningCond()
            running.add(4.0, steps=1, samples=16)
            running.credit_last(9, samples=144)
            running.add(8.0, steps=10, samples=640)
            assert (running.mean, running.epoch_mean) == (6.0, 7.2)
            ```
        """
        if self.values:
            self.weights[-1] += steps
            self.censored += self.values[-1] * steps * self.last_censored
            if self.samples:
                self.samples[-1] += samples

    @property
    def censored_share(self) -> float:
        """Share of censored measurements in the sum behind C̄_K, in [0, 1]; NaN without any."""
        return self.censored / float(np.dot(self.values, self.weights)) if self.values else math.nan

    @property
    def mean(self) -> float:
        """C̄_K, at least 1; NaN before the first measurement (Liao et al. 2020, eq. 7, by steps)."""
        return float(np.average(self.values, weights=self.weights)) if self.values else math.nan

    @property
    def epoch_mean(self) -> float:
        """Mean in which every epoch weighs the same, at least 1; NaN where samples are not known.

        A measurement weighs the samples of its steps, as share of an epoch (Liao et al. 2020, eq. 7, with the
        epoch as K).
        """
        known = len(self.samples) == len(self.values) and sum(self.samples) > 0
        return float(np.average(self.values, weights=self.samples)) if known else math.nan

    @property
    def geomean(self) -> float:
        """exp of the weighted mean of log c_k, at least 1; NaN before the first measurement."""
        if not self.values:
            return math.nan
        return math.exp(float(np.average(np.log(self.values), weights=self.weights)))

    @property
    def median(self) -> float:
        """Weighted median: the smallest c_k at which half of the steps are reached."""
        return weighted_median(self.values, self.weights)

    @property
    def paper_mean(self) -> float:
        """Unweighted mean over the measurements, as the paper's published code computes it."""
        return float(np.mean(self.values)) if self.values else math.nan

    def state_dict(self) -> dict[str, Any]:
        """Return the state.

        Returns:
            The fields, as JSON values; `RunningCond(**state)` restores it.

        Example:
            ```python
            running = fs.measures.RunningCond([4.0], [10])
            assert fs.measures.RunningCond(**running.state_dict()) == running
            ```
        """
        return asdict(self)


def weighted_median(values: Sequence[float], weights: Sequence[float]) -> float:
    """Return the weighted median: the smallest value that reaches half of the weight.

    min{v : Σ_{values ≤ v} weight ≥ ½ Σ weight}, the lower weighted median (Edgeworth 1888).

    Args:
        values: Shape (n,).
        weights: Shape (n,), not negative.

    Returns:
        One of the values, in their unit; NaN if there are none.

    Example:
        ```python
        assert fs.measures.weighted_median([1.0, 5.0, 9.0], [1, 1, 3]) == 9.0
        ```
    """
    if not len(values):
        return math.nan
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(np.asarray(weights, dtype=np.float64)[order])
    return float(np.asarray(values)[order][np.searchsorted(cumulative, cumulative[-1] / 2)])


@dataclass
class RunningNoise:
    """Average the noise scale over a run, as the ratio of its parts' means.

    B_simple = Σ steps_k·tr Σ̂_k / Σ steps_k·|G|²_k. The ratio of means is far less biased than the mean of
    ratios.

    Source: McCandlish et al. 2018, appendix A.1.

    Args:
        variance: Sum of tr Σ̂ × steps.
        signal: Sum of |G|² × steps; its terms may be negative.
        weight: Sum of steps.
        last: tr Σ̂ and |G|² of the last measurement; empty before the first.

    Example:
        ```python
        running = fs.measures.RunningNoise()
        running.add(variance=60.0, signal=1.0, steps=10)
        running.add(variance=20.0, signal=-0.5, steps=10)
        assert running.scale == 160.0
        ```
    """

    variance: float = 0.0
    signal: float = 0.0
    weight: int = 0
    last: list[float] = field(default_factory=list)

    def add(self, variance: float, signal: float, steps: int) -> None:
        """Add one measurement; one that is not finite is left out.

        Args:
            variance: tr Σ̂ of one sample's gradient.
            signal: |G|², unbiased.
            steps: Steps that it represents.

        Example:
            ```python
            fs.measures.RunningNoise().add(variance=60.0, signal=1.0, steps=10)
            ```
        """
        if math.isfinite(variance) and math.isfinite(signal):
            self.variance += steps * variance
            self.signal += steps * signal
            self.weight += steps
            self.last = [variance, signal]

    def credit_last(self, steps: int) -> None:
        """Credit more steps to the last measurement: those of its batch size that came after it.

        Args:
            steps: Steps of its batch size before the size changed.

        Example:
            ```python
            running = fs.measures.RunningNoise()
            running.add(variance=60.0, signal=1.0, steps=1)
            running.credit_last(9)
            assert running == fs.measures.RunningNoise(600.0, 10.0, 10, [60.0, 1.0])
            ```
        """
        if self.last:
            self.add(self.last[0], self.last[1], steps)

    @property
    def scale(self) -> float:
        """tr Σ/|G|² in samples, above 0; NaN if the estimate of |G|² is not positive."""
        return self.variance / self.signal if self.signal > 0 else math.nan

    def state_dict(self) -> dict[str, Any]:
        """Return the state.

        Returns:
            The fields, as JSON values; `RunningNoise(**state)` restores it.

        Example:
            ```python
            running = fs.measures.RunningNoise(60.0, 1.0, 1)
            assert fs.measures.RunningNoise(**running.state_dict()) == running
            ```
        """
        return asdict(self)
