"""Batches of per-sample gradients."""

import numpy as np

CANCELLATION = 1e-9  # float64 eps × the condition of Σ|g|² − n|ĝ|² in these batches (below 1e5), with room


def batch(size, width=7, shift=0.5, seed=0):
    rng = np.random.default_rng([seed, size, width])
    return list(rng.normal(size=(size, width)) + shift)
