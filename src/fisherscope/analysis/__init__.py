"""What runs say: the landscape of a sweep, tests of the paper's claims, selection, tables. No torch."""

from fisherscope.analysis.errors import AnalysisError
from fisherscope.analysis.plane import Landscape, landscape
from fisherscope.analysis.settings import Settings, settings

__all__ = ["AnalysisError", "Landscape", "Settings", "landscape", "settings"]
