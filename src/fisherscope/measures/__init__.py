"""Measures: non-zero rules, c_k and its running means, L_K, and the instruments of one Gram. Plain numpy."""

from fisherscope.measures.gradient_statistics import (
    INSTRUMENTS,
    Gradients,
    adascale_gain,
    big_batch_ratio,
    cabs_batch_size,
    diversity,
    inner_product_test,
    instruments,
    mean_cosine,
    noise_scale,
    norm_test,
    orthogonality_test,
    snr,
)
from fisherscope.measures.nonzero_rules import RULES, FloatArray, censored, nonzero, parse_rule
from fisherscope.measures.running_means import RunningCond, RunningEnergy, RunningNoise, weighted_median
from fisherscope.measures.spectral import cond, effective_rank, energy_step

__all__ = [
    "INSTRUMENTS",
    "RULES",
    "FloatArray",
    "Gradients",
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
    "weighted_median",
]
