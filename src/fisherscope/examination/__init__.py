"""The Gram of a user's own model and batch, examined: coverage, proof, warnings, cost."""

from fisherscope.examination.cost import Cost
from fisherscope.examination.examination import Examination, examine
from fisherscope.examination.proof import Proof

__all__ = ["Cost", "Examination", "Proof", "examine"]
