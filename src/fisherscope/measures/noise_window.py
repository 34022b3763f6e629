"""The noise scale over the last measurements: means of numerator and denominator before the ratio."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

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
