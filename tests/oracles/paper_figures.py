"""The formulas of the paper's authors (docs/paper.md), in numpy: nothing of the package."""

import math

import numpy as np


def cond(jacobian):
    """c_k: eigenvalues of J Jᵀ by a float32 solver, clamped at 0, of which those not exactly 0 count.

    Rows of `jacobian` are gradients of samples, float32.
    """
    gram = np.asarray(jacobian, dtype=np.float32)
    values = np.clip(np.linalg.eigvalsh(gram @ gram.T), 0, None).astype(np.float64)
    values = values[values != 0]
    return math.sqrt(values.max() / values.min())


def energy(jacobian, rate):
    """l_k = (α/|B|)·sqrt(Tr F̃)."""
    rows = np.asarray(jacobian, dtype=np.float64)
    return rate / len(rows) * math.sqrt(float((rows**2).sum()))


def ends_of_epochs(conds, energies, steps):
    """C̄_K and L_K at the end of each epoch: lists of the epoch's measured steps, and its number of steps.

    C̄ is the mean over the measured steps so far; L their sum over the measured share of the *last* epoch.
    """
    ends, so_far, total = [], [], 0.0
    for measured, spent, count in zip(conds, energies, steps, strict=True):
        so_far += measured
        total += sum(spent)
        ends.append((sum(so_far) / len(so_far), total / (len(measured) / count)))
    return ends


def contour_map(x, y, values):
    """51 × 51 points of log x and log y scaled to [0, 1]; five nearest, weights (1/d + 1)/(1 + Σ 1/d)."""
    a, b = np.log(x), np.log(y)
    a, b = (a - a.min()) / (a.max() - a.min()), (b - b.min()) / (b.max() - b.min())
    grid = np.empty((51, 51))
    for row in range(51):
        for column in range(51):
            far = sorted((math.hypot(column / 50 - p, row / 50 - q), v)
                         for p, q, v in zip(a, b, values, strict=True))[:5]  # fmt: skip
            if far[0][0] == 0:
                grid[row, column] = math.nan
                continue
            total = 1 + sum(1 / d for d, _ in far)
            grid[row, column] = sum((1 / d + 1) / total * v for d, v in far)
    return grid
