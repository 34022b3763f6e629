"""What a run adds up from its measurements: C̄_K, L_K and the smoothed noise scale. State is plain JSON."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np


@dataclass
class RunningCond:
    """Means and median of c_k, each measurement weighted by the steps it stands for.

    `paper_mean` is the unweighted mean over measurements (docs/paper.md: K counts sampled iterations).
    """

    values: list[float] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)
    censored: float = 0.0

    def add(self, cond: float, steps: int, censored: bool = False) -> None:
        """Take in one measurement that stands for `steps` steps; one that is not finite is left out."""
        if math.isfinite(cond) and steps > 0:
            self.values.append(cond)
            self.weights.append(steps)
            self.censored += cond * steps * censored

    @property
    def censored_share(self) -> float:
        """Share of the sum behind C̄_K that censored measurements gave; NaN before the first."""
        return self.censored / float(np.dot(self.values, self.weights)) if self.values else math.nan

    @property
    def mean(self) -> float:
        """C̄_K = Σ c_k·steps_k / Σ steps_k; NaN before the first (Liao et al. 2020, eq. 7, by steps)."""
        return float(np.average(self.values, weights=self.weights)) if self.values else math.nan

    @property
    def geomean(self) -> float:
        """exp of the weighted mean of log c_k."""
        if not self.values:
            return math.nan
        return math.exp(float(np.average(np.log(self.values), weights=self.weights)))

    @property
    def median(self) -> float:
        """Weighted median: the smallest c_k at which half of the steps are reached."""
        return weighted_median(self.values, self.weights)

    @property
    def paper_mean(self) -> float:
        """Unweighted mean over the measurements."""
        return float(np.mean(self.values)) if self.values else math.nan

    def state_dict(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return asdict(self)


def weighted_median(values: Sequence[float], weights: Sequence[float]) -> float:
    """The smallest value at which half of the weight is reached; NaN for none."""
    if not len(values):
        return math.nan
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(np.asarray(weights, dtype=np.float64)[order])
    return float(np.asarray(values)[order][np.searchsorted(reached, reached[-1] / 2)])


@dataclass
class RunningEnergy:
    """L_K over *all* steps, from Tr F̃ of the measured ones.

    L_K = Σ_k sqrt(Σ_g (Tr F̃_{k,g}/|B_k|)·(S_{k,g} − S_{k−1,g})²) with S_{k,g} = Σ_{j≤k} α_{j,g}/sqrt(|B_j|)
    for each parameter group g. With one group and constant α and |B| it is Σ l_k × steps (Liao et al. 2020,
    eq. 8).
    """

    total: float = 0.0
    sampled: float = 0.0
    densities: list[float] = field(default_factory=list)
    scale_sums: list[float] = field(default_factory=list)

    def add(
        self, traces: Sequence[float], batch_size: int, scale_sums: Sequence[float], energy: float
    ) -> None:
        """Take in one measurement.

        Args:
            traces: Tr F̃ of each parameter group.
            batch_size: |B_k|.
            scale_sums: S_k of each parameter group, this step included.
            energy: l_k of the measured step, for `paper_sum`.
        """
        if not all(map(math.isfinite, traces)):
            return
        self.densities = [trace / batch_size for trace in traces]
        self.total = self.at(scale_sums)
        self.scale_sums = list(scale_sums)
        self.sampled += energy

    def at(self, scale_sums: Sequence[float]) -> float:
        """L_K with the tail: the steps since the last measurement counted with its gradients.

        Args:
            scale_sums: S of each group now.
        """
        before = self.scale_sums or [0.0] * len(scale_sums)
        squares = (
            density * (now - then) ** 2
            for density, now, then in zip(self.densities, scale_sums, before, strict=False)
        )
        return self.total + math.sqrt(sum(squares))

    def paper_sum(self, sampling_ratio: float) -> float:
        """Σ l_k / (measured share of the steps), the authors' program's estimate (docs/paper.md)."""
        return self.sampled / sampling_ratio if sampling_ratio else math.nan

    def state_dict(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return asdict(self)


@dataclass
class RunningNoise:
    """The noise scale over a run: the ratio of the means of its numerator and denominator.

    The ratio of means is far less biased than the mean of ratios (McCandlish et al. 2018, appendix A.1).
    """

    variance: float = 0.0
    signal: float = 0.0
    weight: int = 0

    def add(self, variance: float, signal: float, steps: int) -> None:
        """Take in one measurement; one that is not finite is left out."""
        if math.isfinite(variance) and math.isfinite(signal):
            self.variance += steps * variance
            self.signal += steps * signal
            self.weight += steps

    @property
    def scale(self) -> float:
        """tr Σ/|G|² in samples; NaN where the estimate of |G|² is not positive."""
        return self.variance / self.signal if self.signal > 0 else math.nan

    def state_dict(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return asdict(self)
