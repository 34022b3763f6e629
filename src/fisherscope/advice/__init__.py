"""Advice on batch sizes within a minute, on a user's own model and data."""

from fisherscope.advice.advisor import advise
from fisherscope.advice.noise_estimation import GradientSamples, sample_noise
from fisherscope.advice.phases import AdviceOptions, advice_on
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
    "sample_noise",
]
