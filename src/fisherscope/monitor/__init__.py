"""Monitor: measure a training loop with one `with` block per step."""

from fisherscope.monitor.monitor import Monitor
from fisherscope.monitor.step import Step

__all__ = ["Monitor", "Step"]
