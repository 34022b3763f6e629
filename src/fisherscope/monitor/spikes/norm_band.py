"""The running band of the gradient's norm: what leaves it is a spike."""

import math
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

LENGTH, LEAST = 100, 20
"""Steps that the band looks back on, and steps before it names a spike."""
DEVIATIONS, LEAST_FACTOR = 6.0, 1.5
"""Width of the band in robust standard deviations of log norms, and the least factor above the median."""
_MAD_TO_DEVIATION = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


@dataclass
class NormBand:
    """Hold the log norms of the last steps; a norm above their median by six deviations is a spike.

    Median and median absolute deviation: a few spikes in the window do not widen it.

    Args:
        logs: log |g| of the last steps, oldest first.

    Example:
        ```python
        from fisherscope.monitor.spikes.norm_band import NormBand

        band = NormBand()
        assert not any(band.is_spike(norm) or band.add(norm) for norm in [1.0, 1.1, 0.9] * 10)
        assert band.is_spike(5.0) and not band.is_spike(1.2)
        ```
    """

    logs: list[float] = field(default_factory=list)

    @property
    def usual(self) -> float:
        """Median norm of the window; NaN before the first step."""
        return math.exp(median(self.logs)) if self.logs else math.nan

    @property
    def limit(self) -> float:
        """The norm above which a step is a spike; infinite while the window holds fewer than 20 steps."""
        if len(self.logs) < LEAST:
            return math.inf
        middle = median(self.logs)
        deviation = _MAD_TO_DEVIATION * median(abs(value - middle) for value in self.logs)
        return math.exp(middle + max(DEVIATIONS * deviation, math.log(LEAST_FACTOR)))

    def is_spike(self, norm: float) -> bool:
        """Return whether a norm leaves the band; one that is not finite does.

        Args:
            norm: |g| of the step.
        """
        return not math.isfinite(norm) or norm > self.limit

    def add(self, norm: float) -> None:
        """Add a step's norm; one that is zero or not finite is left out.

        Args:
            norm: |g| of the step.
        """
        if math.isfinite(norm) and norm > 0:
            self.logs = [*self.logs, math.log(norm)][-LENGTH:]

    def state_dict(self) -> dict[str, Any]:
        """Return the state, as JSON values; `NormBand(**state)` restores it."""
        return asdict(self)
