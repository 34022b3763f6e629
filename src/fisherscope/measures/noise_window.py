"""The noise scale over the last measurements: means of numerator and denominator before the ratio."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from scipy.special import stdtrit

WINDOW = 10
"""Measurements of a window."""


@dataclass
class NoiseWindow:
    """Average tr Σ̂ and |G|² over the last measurements, and divide the means.

    One batch's ratio moves by factors within a few steps, and its mean is biased: the denominator can be near
    zero. A window follows a scale that grows during training, which a mean over the run does not.

    Source: McCandlish et al. 2018, appendix A.1 (ratio of means).

    Args:
        variances: tr Σ̂ of the last measurements.
        signals: |G|² of the same; terms may be negative.
        length: Measurements of a window.

    Example:
        ```python
        window = fs.measures.NoiseWindow(length=2)
        for variance, signal in ((9.0, 1.0), (60.0, 1.0), (20.0, -0.5)):
            window.add(variance, signal)
        assert window.scale == 160.0
        ```
    """

    variances: list[float] = field(default_factory=list)
    signals: list[float] = field(default_factory=list)
    length: int = WINDOW

    def add(self, variance: float, signal: float) -> None:
        """Add one measurement; one that is not finite is left out.

        Args:
            variance: tr Σ̂ of one sample's gradient.
            signal: |G|², unbiased.

        Example:
            ```python
            fs.measures.NoiseWindow().add(variance=60.0, signal=1.0)
            ```
        """
        if math.isfinite(variance) and math.isfinite(signal):
            self.variances = [*self.variances, variance][-self.length :]
            self.signals = [*self.signals, signal][-self.length :]

    @property
    def scale(self) -> float:
        """Σ tr Σ̂ / Σ |G|² in samples; NaN if the mean of |G|² is not positive."""
        signal = math.fsum(self.signals)
        return math.fsum(self.variances) / signal if signal > 0 else math.nan

    def interval(self, level: float = 0.9) -> tuple[float, float]:
        """Return an interval of the scale, by Fieller's theorem on the ratio of the window's means.

        It takes the window's measurements as independent draws at fixed weights, each pair normal: what the
        weights move within the window widens it. While |G|² can't be told from 0 there is no upper end.

        Source: Fieller 1954, Some problems in interval estimation, JRSS B 16(2).

        Args:
            level: Nominal coverage, in (0, 1).

        Returns:
            Lower and upper end, samples; infinite, or 0, where the window does not say.

        Raises:
            ValueError: `level` is not in (0, 1).

        Example:
            ```python
            low, high = fs.measures.NoiseWindow([50.0, 60.0, 70.0], [1.0, 1.1, 0.9]).interval()
            assert low < 60 < high
            ```
        """
        if not 0 < level < 1:
            raise ValueError(
                f"computing an interval of the noise scale: received level {level!r}, expected a number "
                "between 0 and 1, such as 0.9"
            )
        count = len(self.variances)
        if count < 3:
            return 0.0, math.inf
        variance, signal = (math.fsum(values) / count for values in (self.variances, self.signals))
        spread = np.cov(self.variances, self.signals) * (stdtrit(count - 1, (1 + level) / 2) ** 2 / count)
        # the ratios R with (variance - R signal)² <= t² Var(variance - R signal)
        a = signal**2 - spread[1, 1]
        b = variance * signal - spread[0, 1]
        c = variance**2 - spread[0, 0]
        root = math.sqrt(max(b * b - a * c, 0.0))
        low = c / (b + root) if b + root > 0 else 0.0
        return max(low, 0.0), (b + root) / a if a > 0 and signal > 0 else math.inf

    def state_dict(self) -> dict[str, Any]:
        """Return the state.

        Returns:
            The fields, as JSON values; `NoiseWindow(**state)` restores it.

        Example:
            ```python
            window = fs.measures.NoiseWindow([60.0], [1.0])
            assert fs.measures.NoiseWindow(**window.state_dict()) == window
            ```
        """
        return asdict(self)
