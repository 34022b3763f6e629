"""Eigenvalues of a Gram with bounds of their rounding errors: torch in, numpy out."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from fisherscope import measures
from fisherscope.measures import FloatArray
from fisherscope.measures.spectrum import Spectrum, floor_of

__all__ = ["Spectrum", "cond_of_blocks", "spectrum"]

SOLVER_EPS = float(np.finfo(np.float64).eps)
CERTIFIED = 0.1
"""Relative error of every eigenvalue below which eigenvectors are not needed for the error bounds."""
TOLERATED = 1e-4
"""Relative error of the smallest eigenvalue by the solver alone, above which a better solver is used."""
ONE_THREAD = 256
"""Size up to which one thread is fastest: at 128, 0.45 ms instead of 0.75 to 1 with two."""


def spectrum(gram: Any, entry_error: float | None = None, rule: str = "floor") -> Spectrum:
    """Solve for the eigenvalues of a Gram in float64, with a bound of each one's error.

    Entry (i, j) is off by up to entry_error·|g_i||g_j|, so F̃ = D(A + E)D with D = diag|g_i|, A of unit
    diagonal and |E_ij| ≤ entry_error: every eigenvalue is off by a share of at most ‖E‖/λ_min(A) of itself
    (Demmel & Veselić 1992, theorem 2.3), whatever the sizes of the gradients. ‖E‖ is taken as
    entry_error·min(B, 2·sqrt(B)), which rounding errors that are independent between entries do not exceed
    (Bai & Yin 1988); 1/λ_min(A) as the Frobenius norm of A⁻¹. If that certifies nothing (as with repeated
    samples), eigenvectors v give the first-order bound ‖E‖·Σ v_i²|g_i|² of each eigenvalue.

    The solver's own error, B·eps·λ_max, is added. If it alone would spoil an eigenvalue that the entries
    determine (gradients of very different size), the singular values of the Cholesky factor are squared
    instead: their error is B·eps·σ_max in σ.

    Args:
        gram: (B, B) torch tensor or array, symmetric, columns of J not divided by B.
        entry_error: Bound of the entries' errors relative to |g_i||g_j| (`record.entry_error`); by default
            the machine epsilon of the Gram's dtype.
        rule: `floor`, `relative[:cut]`, `energy[:share]`, `exact`, or `paper`: solved in float32, clamped at
            zero, non-zero = not exactly zero (docs/paper.md).

    Returns:
        The spectrum, float64 numpy arrays of shape (B,); a zero or non-finite Gram gives a status, no error.

    Raises:
        ValueError: The Gram is not a square matrix, or there is no such rule.

    Cost: one `eigvalsh` and one Cholesky inverse, O(B³); additionally `eigh` or `svdvals` in the two cases
    above. A Gram on an accelerator is copied to the host first, which waits for the device.

    Example:
        ```python
        model = torch.nn.Linear(3, 2)
        with fs.record_gram(model) as record:
            model(torch.randn(8, 3)).square().sum(1).mean().backward()
        spectrum = fs.spectrum(record.gram, record.entry_error)
        assert spectrum.eigenvalues.shape == (8,) and spectrum.rank <= 8
        ```
    """
    if hasattr(gram, "entry_error"):
        raise ValueError(
            "taking a Gram's spectrum: received a record; call spectrum(record.gram, record.entry_error)"
        )
    matrix = torch.as_tensor(gram).detach().cpu()
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise ValueError(f"taking a Gram's spectrum: expected shape (B, B), received {tuple(matrix.shape)}")
    if rule != "paper":
        measures.parse_rule(rule)
    eps = torch.finfo(matrix.dtype).eps if matrix.is_floating_point() else SOLVER_EPS
    matrix = matrix.double()
    diagonal = matrix.diagonal()
    if not math.isfinite(float(matrix.sum())) and not bool(torch.isfinite(matrix).all()):
        nothing = np.full(len(matrix), math.nan)
        return Spectrum(nothing[:0], nothing[:0], math.nan, 0, rule, "the Gram has NaN or infinite entries")
    trace, zeros = float(diagonal.sum()), len(matrix) - int(torch.count_nonzero(diagonal))
    status = "every gradient is zero" if zeros == len(matrix) else "ok"
    if rule == "paper":
        with _threads_for(len(matrix)):
            values = torch.linalg.eigvalsh(matrix.float()).clamp_(min=0).double().flip(0)
        return Spectrum(values.numpy(), np.zeros(len(matrix)), trace, 0, rule, status)
    values, errors = torch.zeros(2, len(matrix), dtype=torch.float64)
    if status == "ok":
        active = diagonal != 0
        core = matrix[active][:, active] if zeros else matrix
        with _threads_for(len(core)):
            solution = _solve(core, eps if entry_error is None else entry_error)
        values[: len(core)], errors[: len(core)] = solution
    return Spectrum(values.numpy(), errors.numpy(), trace, zeros, rule, status)


@contextmanager
def _threads_for(size: int) -> Iterator[None]:
    """Use one thread while a small matrix is solved; more are slower, most on a busy machine."""
    threads = torch.get_num_threads()
    if size > ONE_THREAD or threads == 1 or not torch.backends.openmp.is_available():
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _solve(gram: torch.Tensor, entry_error: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return descending eigenvalues and bounds of their errors, for a Gram without zero rows."""
    size = len(gram)
    values = torch.linalg.eigvalsh(gram).flip(0)
    noise = entry_error * _norm_factor(size)
    solver = size * SOLVER_EPS * values[0].abs()
    lengths = gram.diagonal().abs().sqrt()
    factor, failed = torch.linalg.cholesky_ex(gram / lengths[:, None] / lengths)
    growth = math.inf
    if not int(failed):
        growth = float(torch.linalg.matrix_norm(torch.cholesky_inverse(factor)))
        growth *= noise + size * SOLVER_EPS
    if growth > CERTIFIED:
        vectors = torch.linalg.eigh(gram).eigenvectors.flip(1)
        return values, noise * (vectors.square() * gram.diagonal()[:, None]).sum(0) + solver
    if float(solver) <= max(growth, TOLERATED) * float(values[-1]):
        return values, growth * values + solver
    singular = torch.linalg.svdvals(lengths[:, None] * factor)
    return singular**2, growth * singular**2 + 2 * size * SOLVER_EPS * singular[0] * singular


def _norm_factor(size: int) -> float:
    """Return ‖E‖₂ of a symmetric matrix with independent entries within ±1."""
    return min(float(size), 2.0 * math.sqrt(size))


def cond_of_blocks(gram: Any, size: int = 8, entry_error: float | None = None, rule: str = "floor") -> float:
    """Return the geometric mean of c over disjoint blocks of `size` samples of one Gram.

    c grows with |B| by itself (a principal submatrix is better conditioned), so a fixed block size makes
    batch sizes comparable. Blocks are consecutive samples; a remainder, and blocks whose gradients are all
    zero, are left out.

    Args:
        gram: Shape (B, B), as for `spectrum`.
        size: Samples in a block.
        entry_error: As for `spectrum`.
        rule: As for `spectrum`.

    Returns:
        A number without unit, at least 1; NaN if B is below `size`.

    Raises:
        ValueError: There is no such rule.

    Cost: B/size small spectra in one batched call.

    Example:
        ```python
        from fisherscope.eigenvalues import cond_of_blocks

        assert round(cond_of_blocks(torch.diag(torch.tensor([9.0, 1.0, 1.0, 9.0])), size=2), 9) == 3.0
        ```
    """
    matrix = torch.as_tensor(gram).detach().cpu()
    eps = torch.finfo(matrix.dtype).eps if matrix.is_floating_point() else SOLVER_EPS
    count = len(matrix) // size
    if not count or not bool(torch.isfinite(matrix).all()):
        return math.nan
    index = torch.arange(count * size).view(count, size)
    blocks = matrix.double()[index[:, :, None], index[:, None, :]]
    if rule == "paper":
        values = torch.linalg.eigvalsh(blocks.float()).clamp_(min=0).double().numpy()
        rule, floors = "exact", np.zeros(count)
    else:
        values, errors = _block_errors(blocks, eps if entry_error is None else entry_error)
        floors = floor_of(values, errors)
    conds = [measures.cond(v, rule, f) for v, f in zip(values, floors.tolist(), strict=True)]
    logs = [math.log(cond) for cond in conds if math.isfinite(cond)]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def _block_errors(blocks: torch.Tensor, entry_error: float) -> tuple[FloatArray, FloatArray]:
    """Return descending eigenvalues and error bounds, each (count, size), by eigenvectors."""
    size = blocks.shape[-1]
    values, vectors = torch.linalg.eigh(blocks)
    diagonals = blocks.diagonal(dim1=1, dim2=2)
    spread = (vectors.square() * diagonals[:, :, None]).sum(1)
    errors = entry_error * _norm_factor(size) * spread + size * SOLVER_EPS * values[:, -1:].abs()
    return values.flip(1).numpy(), errors.flip(1).numpy()
