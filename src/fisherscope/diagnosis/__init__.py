"""What is wrong or wasted in a run, from its recorded rows: findings with evidence and what to try."""

from fisherscope.diagnosis.diagnosis import Diagnosis, diagnose
from fisherscope.diagnosis.finding import Finding

__all__ = ["Diagnosis", "Finding", "diagnose"]
