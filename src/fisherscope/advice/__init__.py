"""Advice on batch sizes within a minute, on a user's own model and data."""

from fisherscope.advice.advisor import AdviceOptions, advice_on, advise
from fisherscope.advice.noise_estimation import GradientSamples, sampled
from fisherscope.advice.training_step import AdviceError, StepRunner
from fisherscope.analysis.batch_size.advice import Advice

__all__ = [
    "Advice",
    "AdviceError",
    "AdviceOptions",
    "GradientSamples",
    "StepRunner",
    "advice_on",
    "advise",
    "sampled",
]
