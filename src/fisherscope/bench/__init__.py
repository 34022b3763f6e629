"""Time a measured step against a plain one and against other tools."""

from fisherscope.bench.cases import CASES, MODES, Bench, Case
from fisherscope.bench.timing import circumstances, memory_of_mode, time_case

__all__ = ["CASES", "MODES", "Bench", "Case", "circumstances", "memory_of_mode", "time_case"]
