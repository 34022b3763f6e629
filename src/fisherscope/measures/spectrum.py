"""The spectrum of one Gram: eigenvalues, their error bounds, and what counts as non-zero."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fisherscope.html_repr import columns, sketch
from fisherscope.measures import nonzero_rules, spectral
from fisherscope.measures.nonzero_rules import FloatArray


@dataclass(frozen=True)
class Spectrum:
    """Hold the eigenvalues of one Gram F̃, their error bounds, and the non-zero rule.

    Source: Liao et al. 2020, section 3.2, for cond and energy; docs/paper.md, Measures.

    Args:
        eigenvalues: Shape (B,), descending, float64, as solved for: rounding can leave tiny negative ones.
        errors: Shape (B,): bound of the absolute error of each.
        trace: Tr F̃, from the diagonal.
        zero_samples: Samples whose gradient is exactly zero; as many eigenvalues are certainly zero.
        rule: Non-zero rule (`measures.RULES`) or `paper`.
        status: "ok", or in words why there are no eigenvalues.

    Example:
        ```python
        spectrum = fs.spectrum(torch.diag(torch.tensor([9.0, 4.0, 1.0])))
        assert (spectrum.rank, spectrum.cond, spectrum.trace) == (3, 3.0, 14.0)
        ```
    """

    eigenvalues: FloatArray
    errors: FloatArray
    trace: float
    zero_samples: int = 0
    rule: str = "floor"
    status: str = "ok"

    @cached_property
    def floor(self) -> float:
        """Largest eigenvalue that rounding alone could have made; those up to it do not count.

        The largest error bound among the eigenvalues that are below their own; if all are above, the error
        bound of the smallest. Zero under `paper`.
        """
        size = len(self.eigenvalues) - self.zero_samples
        if self.rule == "paper" or not size:
            return 0.0
        return float(floor_of(self.eigenvalues[:size], self.errors[:size]))

    @cached_property
    def nonzero(self) -> FloatArray:
        """The eigenvalues that count as non-zero, descending, shape (rank,)."""
        rule = "exact" if self.rule == "paper" else self.rule
        return np.sort(nonzero_rules.nonzero(self._certain, rule, self.floor))[::-1]

    @property
    def kept(self) -> FloatArray:
        """Another name of `nonzero`, shape (rank,), float64."""
        return self.nonzero

    @property
    def _certain(self) -> FloatArray:
        """The eigenvalues without the zeros of samples that have no gradient."""
        return self.eigenvalues[: len(self.eigenvalues) - self.zero_samples]

    @property
    def rank(self) -> int:
        """Number of eigenvalues that count, in [0, B]."""
        return len(self.nonzero)

    @property
    def cond(self) -> float:
        """c_k = σ_max/σ_min of those that count (Liao et al. 2020, section 3.2); NaN at rank 0."""
        return math.sqrt(self.nonzero[0] / self.nonzero[-1]) if self.rank else math.nan

    @property
    def cond_limit(self) -> float:
        """The largest c_k that rounding allows to measure: sqrt(λ_max/floor)."""
        if not self.rank:
            return math.nan
        return math.sqrt(self.nonzero[0] / self.floor) if self.floor > 0 else math.inf

    @property
    def censored(self) -> bool:
        """Whether the rule selects an eigenvalue at the floor: the true c_k may be larger."""
        return self.rule != "paper" and nonzero_rules.censored(self._certain, self.rule, self.floor)

    @property
    def accuracy(self) -> float:
        """Bound of the relative error of the smallest singular value that counts, in [0, 1].

        1 − sqrt(1 − η), η the eigenvalue's error bound over itself. NaN at rank 0 and under `paper`.
        """
        if not self.rank or self.rule == "paper":
            return math.nan
        index = int(np.flatnonzero(self.eigenvalues == self.nonzero[-1])[-1])
        return 1.0 - math.sqrt(1.0 - min(1.0, float(self.errors[index] / self.nonzero[-1])))

    @property
    def effective_rank(self) -> float:
        """exp of the entropy of the singular values' shares, in [1, B] (Roy & Vetterli 2007)."""
        return spectral.effective_rank(self.eigenvalues)

    def energy(self, lr: float) -> float:
        """Return l_k = (lr/B)·sqrt(Tr F̃) (Liao et al. 2020, eq. 8).

        Args:
            lr: Learning rate.

        Returns:
            The step's energy in units of the parameters, at least 0.

        Example:
            ```python
            assert fs.spectrum(100 * torch.eye(4)).energy(lr=0.2) == 1.0
            ```
        """
        return spectral.energy_step(self.trace, lr, len(self.eigenvalues))

    def _repr_html_(self) -> str:
        rank = self.rank
        rows = {
            "samples": f"{len(self.eigenvalues)}", "rank": f"{rank} ({self.rule})", "c": f"{self.cond:.4g}",
            "effective rank": f"{self.effective_rank:.3g}", "trace": f"{self.trace:.4g}",
            "status": "censored: the smallest lies at the rounding floor" if self.censored else self.status,
        }  # fmt: skip
        values = [math.sqrt(value) for value in self.nonzero.tolist()]
        return columns(rows, sketch([float(k) for k in range(1, rank + 1)], values, "singular values"))

    def under(self, rule: str) -> "Spectrum":
        """Return the same eigenvalues under another non-zero rule.

        Args:
            rule: `floor`, `relative[:cut]`, `energy[:share]` or `exact`.

        Returns:
            A spectrum; nothing is solved again.

        Raises:
            ValueError: One of the two rules is `paper`, which solves in float32.

        Example:
            ```python
            spectrum = fs.spectrum(torch.diag(torch.tensor([9.0, 4.0, 1.0])))
            assert spectrum.under("relative:0.5").rank == 2
            ```
        """
        if "paper" in (rule, self.rule) and rule != self.rule:
            raise ValueError(
                "choosing a non-zero rule: `paper` solves in float32, so it cannot be applied to a solved "
                "spectrum; call spectrum(gram, rule='paper')"
            )
        return Spectrum(self.eigenvalues, self.errors, self.trace, self.zero_samples, rule, self.status)


def floor_of(values: FloatArray, errors: FloatArray) -> FloatArray:
    """Return `Spectrum.floor` of descending eigenvalues along the last axis."""
    below = values <= errors
    largest: FloatArray = np.where(below, errors, 0.0).max(axis=-1)
    return np.where(below.any(axis=-1), largest, errors[..., -1])
