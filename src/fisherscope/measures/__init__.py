"""Measures of one Gram or of a run: c_k, L_K, noise scale and others. Plain numpy."""

from fisherscope.measures.batch_size_tests import (
    adascale_gain,
    big_batch_ratio,
    cabs_batch_size,
    inner_product_test,
    norm_test,
    orthogonality_test,
)
from fisherscope.measures.gradient_statistics import (
    INSTRUMENTS,
    diversity,
    instruments,
    mean_cosine,
    noise_scale,
    snr,
    sum_instruments,
)
from fisherscope.measures.gram_sums import Gradients, GradientSums
from fisherscope.measures.noise_window import NoiseWindow
from fisherscope.measures.nonzero_rules import RULES, FloatArray, censored, nonzero, parse_rule
from fisherscope.measures.running_energy import RunningEnergy
from fisherscope.measures.running_means import RunningCond, RunningNoise, weighted_median
from fisherscope.measures.spectral import cond, effective_rank, energy_step

__all__ = [
    "INSTRUMENTS",
    "RULES",
    "FloatArray",
    "GradientSums",
    "Gradients",
    "NoiseWindow",
    "RunningCond",
    "RunningEnergy",
    "RunningNoise",
    "adascale_gain",
    "big_batch_ratio",
    "cabs_batch_size",
    "censored",
    "cond",
    "diversity",
    "effective_rank",
    "energy_step",
    "inner_product_test",
    "instruments",
    "mean_cosine",
    "noise_scale",
    "nonzero",
    "norm_test",
    "orthogonality_test",
    "parse_rule",
    "snr",
    "sum_instruments",
    "weighted_median",
]
