"""Measures of a spectrum: condition number, energy, effective rank."""

import math

import numpy as np

from fisherscope.measures.nonzero_rules import FloatArray, nonzero


def cond(eigenvalues: FloatArray, rule: str = "floor", floor: float = 0.0) -> float:
    """Return the truncated condition number c_k.

    The largest over the smallest non-zero singular value.

    c_k = sqrt(max E / min E), with E the eigenvalues of F̃ that count as non-zero.

    Source: Liao et al. 2020, section 3.2.

    Args:
        eigenvalues: Eigenvalues of F̃, shape (B,), any order, in units of a squared gradient.
        rule: Non-zero rule: `floor`, `relative[:cut]`, `energy[:share]` or `exact`.
        floor: Largest eigenvalue that rounding alone could have made.

    Returns:
        A number without unit, in [1, ∞); NaN if no eigenvalue counts.

    Raises:
        ValueError: There is no such rule.

    Example:
        ```python
        import numpy as np

        assert fs.measures.cond(np.array([9.0, 4.0, 1.0])) == 3.0
        ```
    """
    counting = nonzero(eigenvalues, rule, floor)
    return math.sqrt(float(counting.max()) / float(counting.min())) if len(counting) else math.nan


def energy_step(trace: float, lr: float, batch_size: int) -> float:
    """Return l_k, the energy of one step; its sum over the steps is L_K.

    l_k = (α/|B|)·sqrt(Tr F̃).

    Source: Liao et al. 2020, eq. 8.

    Args:
        trace: Tr F̃, in units of a squared gradient.
        lr: Learning rate α.
        batch_size: |B| in samples.

    Returns:
        A number in units of the parameters, at least 0.

    Example:
        ```python
        assert fs.measures.energy_step(trace=400.0, lr=0.1, batch_size=10) == 0.2
        ```
    """
    return lr / batch_size * math.sqrt(trace)


def effective_rank(eigenvalues: FloatArray) -> float:
    """Return the effective rank: exp of the entropy of the singular values' shares.

    exp(−Σ p log p) with p = σ/Σσ, σ = sqrt(max(λ, 0)). It has no cut, so it depends on no non-zero rule.

    Source: Roy & Vetterli, EUSIPCO 2007, definition 1.

    Args:
        eigenvalues: Eigenvalues of F̃, shape (B,), any order, in units of a squared gradient.

    Returns:
        A number without unit, in [1, B]; NaN for an all-zero spectrum.

    Example:
        ```python
        import numpy as np

        assert abs(fs.measures.effective_rank(np.ones(5)) - 5) < 1e-12
        ```
    """
    singular = np.sqrt(np.clip(eigenvalues, 0.0, None))
    shares = singular[singular > 0] / (singular.sum() or 1.0)
    return math.exp(-float(np.sum(shares * np.log(shares)))) if len(shares) else math.nan
