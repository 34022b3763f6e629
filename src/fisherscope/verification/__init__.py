"""The Gram of a user's own model and batch, examined: coverage, proof, warnings, cost."""

from fisherscope.verification.comparison import Comparison
from fisherscope.verification.examination import examine
from fisherscope.verification.overhead import Overhead
from fisherscope.verification.result import Examination

__all__ = ["Comparison", "Examination", "Overhead", "examine"]
