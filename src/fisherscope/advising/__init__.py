"""Advice on batch sizes within a minute, on a user's own model and data."""

from fisherscope.advising.asking import Plan, advice_on, advise
from fisherscope.advising.sampling import Sampled, sampled
from fisherscope.advising.stepping import AdviceError, Stepper
from fisherscope.analysis.batch_size.advice import Advice

__all__ = ["Advice", "AdviceError", "Plan", "Sampled", "Stepper", "advice_on", "advise", "sampled"]
