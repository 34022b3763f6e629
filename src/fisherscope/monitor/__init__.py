"""Monitor: the recorder, the measures, the optimizer and a run meet in one `with` block per step."""

from fisherscope.monitor.monitor import Monitor
from fisherscope.monitor.step import Step

__all__ = ["Monitor", "Step"]
