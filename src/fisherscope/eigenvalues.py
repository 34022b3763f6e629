"""The border: a Gram (torch) goes in, its eigenvalues and what rounding did to them come out as numpy."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from fisherscope import measures
from fisherscope.html_repr import columns, sketch
from fisherscope.measures import FloatArray

SOLVER_EPS = float(np.finfo(np.float64).eps)
CERTIFIED = 0.1
"""Relative error of every eigenvalue below which eigenvectors are not needed to tell them from rounding."""
TOLERATED = 1e-4
"""Relative error of the smallest eigenvalue by the solver alone above which a more accurate one is used."""
ONE_THREAD = 256
"""Sizes up to which one thread solves fastest: at 128, 0.45 ms in place of 0.75 to 1 with two."""


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of one Gram F̃ with a bound of their rounding errors, and what counts under a non-zero rule.

    Args:
        eigenvalues: Shape (B,), descending, float64, as solved for: rounding can leave tiny negative ones.
        errors: Shape (B,): bound of the absolute error of each.
        trace: Tr F̃, from the diagonal.
        zero_samples: Samples whose gradient is exactly zero; as many eigenvalues are zero for certain.
        rule: Non-zero rule (`measures.RULES`) or `paper`.
        status: "ok", or in words why nothing could be read off.
    """

    eigenvalues: FloatArray
    errors: FloatArray
    trace: float
    zero_samples: int = 0
    rule: str = "floor"
    status: str = "ok"

    @cached_property
    def floor(self) -> float:
        """Eigenvalues at or below it do not count: rounding alone could have made them.

        The largest error bound among the eigenvalues that are below their own; where all are above, the
        error bound of the smallest. Zero under `paper`.
        """
        size = len(self.eigenvalues) - self.zero_samples
        if self.rule == "paper" or not size:
            return 0.0
        return float(_floor(self.eigenvalues[:size], self.errors[:size]))

    @cached_property
    def kept(self) -> FloatArray:
        """The non-zero eigenvalues, descending, shape (rank,)."""
        rule = "exact" if self.rule == "paper" else self.rule
        return np.sort(measures.nonzero(self._certain, rule, self.floor))[::-1]

    @property
    def _certain(self) -> FloatArray:
        """Without the zeros of samples that have no gradient."""
        return self.eigenvalues[: len(self.eigenvalues) - self.zero_samples]

    @property
    def rank(self) -> int:
        """How many eigenvalues count."""
        return len(self.kept)

    @property
    def cond(self) -> float:
        """c_k = σ_max/σ_min over those that count (Liao et al. 2020, section 3.2); NaN at rank 0."""
        return math.sqrt(self.kept[0] / self.kept[-1]) if self.rank else math.nan

    @property
    def cond_limit(self) -> float:
        """The largest c_k that could have been told from rounding: sqrt(λ_max/floor)."""
        if not self.rank:
            return math.nan
        return math.sqrt(self.kept[0] / self.floor) if self.floor > 0 else math.inf

    @property
    def censored(self) -> bool:
        """Whether the rule chose an eigenvalue that lies at the floor, so that the true c_k may be larger."""
        return self.rule != "paper" and measures.censored(self._certain, self.rule, self.floor)

    @property
    def accuracy(self) -> float:
        """Bound of the relative error of the smallest singular value that counts; NaN where none does.

        1 − sqrt(1 − η), η the eigenvalue's error bound over itself. NaN under `paper`.
        """
        if not self.rank or self.rule == "paper":
            return math.nan
        index = int(np.flatnonzero(self.eigenvalues == self.kept[-1])[-1])
        return 1.0 - math.sqrt(1.0 - min(1.0, float(self.errors[index] / self.kept[-1])))

    @property
    def effective_rank(self) -> float:
        """exp of the entropy of the singular values' shares (Roy & Vetterli 2007)."""
        return measures.effective_rank(self.eigenvalues)

    def energy(self, lr: float) -> float:
        """l_k = (lr/B)·sqrt(Tr F̃) (Liao et al. 2020, eq. 8)."""
        return measures.energy_step(self.trace, lr, len(self.eigenvalues))

    def _repr_html_(self) -> str:
        kept = self.rank
        rows = {
            "samples": f"{len(self.eigenvalues)}", "rank": f"{kept} ({self.rule})", "c": f"{self.cond:.4g}",
            "effective rank": f"{self.effective_rank:.3g}", "trace": f"{self.trace:.4g}",
            "status": "censored: the smallest lies at the rounding floor" if self.censored else self.status,
        }  # fmt: skip
        values = [math.sqrt(value) for value in self.kept.tolist()]
        return columns(rows, sketch([float(k) for k in range(1, kept + 1)], values, "singular values"))

    def under(self, rule: str) -> "Spectrum":
        """The same eigenvalues under another rule."""
        if "paper" in (rule, self.rule) and rule != self.rule:
            raise ValueError(
                "choosing a non-zero rule: `paper` solves in float32, so it is no rule of a solved spectrum; "
                "call spectrum(gram, rule='paper')"
            )
        return Spectrum(self.eigenvalues, self.errors, self.trace, self.zero_samples, rule, self.status)


def spectrum(gram: Any, entry_error: float | None = None, rule: str = "floor") -> Spectrum:
    """Eigenvalues of a Gram in float64, with the error that its entries' rounding gives each.

    Entry (i, j) is off by up to entry_error·|g_i||g_j|, so F̃ = D(A + E)D with D = diag|g_i|, A of unit
    diagonal and |E_ij| ≤ entry_error: every eigenvalue is off by a share of at most ‖E‖/λ_min(A) of itself
    (Demmel & Veselić 1992, theorem 2.3), whatever the sizes of the gradients. ‖E‖ is taken as
    entry_error·min(B, 2·sqrt(B)), which rounding errors that are independent between entries do not exceed
    (Bai & Yin 1988); 1/λ_min(A) as the Frobenius norm of A⁻¹. Where that certifies nothing (repeated samples,
    say) eigenvectors v give the first-order bound ‖E‖·Σ v_i²|g_i|² of each eigenvalue.

    The solver's own error, B·eps·λ_max, is added. Where it alone would spoil an eigenvalue that the entries
    determine (gradients of very different size), the singular values of the Cholesky factor are squared
    instead: their error is B·eps·σ_max in σ.

    Args:
        gram: (B, B) torch tensor or array, symmetric, columns of J not divided by B.
        entry_error: Bound of the entries' errors relative to |g_i||g_j| (`record.entry_error`); by default
            the machine epsilon of the Gram's dtype.
        rule: `floor`, `relative[:cut]`, `energy[:share]`, `exact`, or `paper`: solved in float32, clamped at
            zero, non-zero = not exactly zero (docs/paper.md).

    Raises:
        ValueError: Not a square matrix, or no such rule. A zero or non-finite Gram is no error but a status.

    Cost: one `eigvalsh` and one Cholesky inverse, O(B³); `eigh` or `svdvals` besides in the two cases
    above. A Gram on an accelerator is copied to the host first, which waits for the device.
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
        seen = diagonal != 0
        core = matrix[seen][:, seen] if zeros else matrix
        with _threads_for(len(core)):
            found = _solve(core, eps if entry_error is None else entry_error)
        values[: len(core)], errors[: len(core)] = found
    return Spectrum(values.numpy(), errors.numpy(), trace, zeros, rule, status)


@contextmanager
def _threads_for(size: int) -> Iterator[None]:
    """One thread while a small matrix is solved: others cost more than they bring, most on a busy machine."""
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
    """Descending eigenvalues and the bound of each one's absolute error, for a Gram without zero rows."""
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
    """‖E‖₂ of a symmetric matrix with independent entries within ±1."""
    return min(float(size), 2.0 * math.sqrt(size))


def _floor(values: FloatArray, errors: FloatArray) -> FloatArray:
    """`Spectrum.floor` of descending eigenvalues along the last axis, with the bounds of their errors."""
    lost = values <= errors
    largest: FloatArray = np.where(lost, errors, 0.0).max(axis=-1)
    return np.where(lost.any(axis=-1), largest, errors[..., -1])


def cond_of_blocks(gram: Any, size: int = 8, entry_error: float | None = None, rule: str = "floor") -> float:
    """Geometric mean of c over disjoint blocks of `size` samples of one Gram; NaN below `size` samples.

    c grows with |B| by itself (a principal submatrix is better conditioned), so next to C̄ stands what blocks
    of a fixed size say. Blocks are consecutive samples, a remainder is left out; a block whose gradients are
    all zero is left out too.

    Cost: B/size small spectra in one batched call.
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
        floors = _floor(values, errors)
    conds = [measures.cond(v, rule, f) for v, f in zip(values, floors.tolist(), strict=True)]
    logs = [math.log(cond) for cond in conds if math.isfinite(cond)]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def _block_errors(blocks: torch.Tensor, entry_error: float) -> tuple[FloatArray, FloatArray]:
    """Descending eigenvalues and their error bounds, each (count, size), by eigenvectors."""
    size = blocks.shape[-1]
    values, vectors = torch.linalg.eigh(blocks)
    diagonals = blocks.diagonal(dim1=1, dim2=2)
    spread = (vectors.square() * diagonals[:, :, None]).sum(1)
    errors = entry_error * _norm_factor(size) * spread + size * SOLVER_EPS * values[:, -1:].abs()
    return values.flip(1).numpy(), errors.flip(1).numpy()
