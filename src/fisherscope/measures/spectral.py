"""What is read off a spectrum: condition number, energy, effective rank."""

import math

import numpy as np

from fisherscope.measures.nonzero_rules import FloatArray, nonzero


def cond(eigenvalues: FloatArray, rule: str = "floor", floor: float = 0.0) -> float:
    """c_k: the largest over the smallest non-zero singular value; NaN where nothing is non-zero.

    sqrt(max E / min E) with E the eigenvalues that count (Liao et al. 2020, section 3.2). At least 1.
    """
    kept = nonzero(eigenvalues, rule, floor)
    return math.sqrt(float(kept.max()) / float(kept.min())) if len(kept) else math.nan


def energy_step(trace: float, lr: float, batch_size: int) -> float:
    """l_k = (α/|B|)·sqrt(Tr F̃), in units of the parameters (Liao et al. 2020, eq. 8)."""
    return lr / batch_size * math.sqrt(trace)


def effective_rank(eigenvalues: FloatArray) -> float:
    """exp of the entropy of the singular values' shares, between 1 and B; NaN for an all-zero spectrum.

    exp(−Σ p log p) with p = σ/Σσ, σ = sqrt(max(λ, 0)) (Roy & Vetterli, EUSIPCO 2007, definition 1). It has no
    cut, so it depends on no rule.
    """
    singular = np.sqrt(np.clip(eigenvalues, 0.0, None))
    shares = singular[singular > 0] / (singular.sum() or 1.0)
    return math.exp(-float(np.sum(shares * np.log(shares)))) if len(shares) else math.nan
