"""A claim, the evidence that tests it, and the four verdicts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl

from fisherscope.analysis.stats.hypothesis_tests import holm

Verdict = Literal["supported", "contradicted", "inconclusive", "not testable"]
LEVEL = 0.05


@dataclass(frozen=True)
class Evidence:
    """One figure that a claim rests on, or that is shown for comparison; made by `claims`.

    Args:
        name: What it is.
        estimate: The figure.
        low: Lower bound of its 95 % interval; NaN if there is none.
        high: Upper bound.
        n: Units behind it: settings, pairs or seeds.
        p: One-sided p-value for the claim.
        p_against: One-sided p-value for its opposite.
        minimum: The effect below which it does not count, however small p is.
        beside: A null model or a companion: shown, not part of the verdict.
    """

    name: str
    estimate: float
    low: float
    high: float
    n: int
    p: float
    p_against: float = math.nan
    minimum: float = 0.0
    beside: bool = False

    def __str__(self) -> str:
        text = f"{self.name}: {self.estimate:.3g}"
        if math.isfinite(self.low):
            text += f" ({self.low:.3g} to {self.high:.3g})"
        text += f", n = {self.n}"
        return text + (f", p = {self.p:.2g}" if math.isfinite(self.p) else "")


@dataclass(frozen=True)
class Claim:
    """A claim of the paper on these runs.

    Args:
        number: As in the paper's list (docs/analysis.md).
        text: The claim.
        parts: Figures; empty if it could not be tested.
        reason: Why it could not be tested, or a remark on the test.
        p: Largest p-value of the required parts: all must reject.
        p_corrected: After Holm over the claims.
        verdict: One of four.
    """

    number: int
    text: str
    parts: tuple[Evidence, ...] = ()
    reason: str = ""
    p: float = math.nan
    p_corrected: float = math.nan
    verdict: Verdict = "not testable"

    @property
    def deciding_parts(self) -> tuple[Evidence, ...]:
        """The parts that decide."""
        return tuple(part for part in self.parts if not part.beside)

    @property
    def weakest(self) -> Evidence | None:
        """The required part with the largest p-value: the figure of the claim."""
        with_p = [part for part in self.deciding_parts if math.isfinite(part.p)]
        return max(with_p, key=lambda part: part.p) if with_p else None

    def __str__(self) -> str:
        lines = [f"{self.number}. {self.text}: {self.verdict.upper()}"]
        if math.isfinite(self.p_corrected):
            lines[0] += f" (p = {self.p_corrected:.2g} after Holm)"
        lines += [f"     {'for comparison: ' if part.beside else ''}{part}" for part in self.parts]
        return "\n".join([*lines, f"     {self.reason}"] if self.reason else lines)


@dataclass(frozen=True)
class Claims:
    """Every claim with its verdict; made by `claims`.

    Args:
        claims: The claims in order (docs/paper.md, Claims).
        about: The runs that were tested, in a few words.
        notes: Runs that were left out, and other remarks.
    """

    claims: tuple[Claim, ...]
    about: str
    notes: tuple[str, ...]

    @property
    def frame(self) -> pl.DataFrame:
        """A row per claim: its verdict, weakest figure, interval and p-values."""
        rows = []
        for claim in self.claims:
            part = claim.weakest
            row: dict[str, object] = {"number": claim.number, "claim": claim.text, "verdict": claim.verdict}
            row |= {"figure": part.name if part else None}
            row |= {c: _finite(getattr(part, c)) if part else None for c in ("estimate", "low", "high")}
            row |= {"n": part.n if part else None, "p": _finite(claim.p)}
            row |= {"p_corrected": _finite(claim.p_corrected), "reason": claim.reason}
            rows.append(row)
        floats = ("estimate", "low", "high", "p", "p_corrected")
        overrides: dict[str, type[pl.DataType]] = dict.fromkeys(floats, pl.Float64)
        overrides |= {"n": pl.Int64, "figure": pl.String}
        return pl.DataFrame(rows, schema_overrides=overrides)

    @property
    def parts(self) -> pl.DataFrame:
        """A row per figure: `number, part, estimate, low, high, n, p, p_against, minimum, beside`."""
        rows = [
            {
                "number": claim.number,
                "part": part.name,
                **{c: _finite(getattr(part, c)) for c in ("estimate", "low", "high")},
                "n": part.n,
                **{c: _finite(getattr(part, c)) for c in ("p", "p_against", "minimum")},
                "beside": part.beside,
            }
            for claim in self.claims
            for part in claim.parts
        ]
        names = ("estimate", "low", "high", "p", "p_against", "minimum")
        return pl.DataFrame(rows, schema_overrides=dict.fromkeys(names, pl.Float64), infer_schema_length=None)

    def __getitem__(self, number: int) -> Claim:
        for claim in self.claims:
            if claim.number == number:
                return claim
        raise KeyError(
            f"there is no claim {number}; expected one of {', '.join(str(c.number) for c in self.claims)}"
        )

    def __str__(self) -> str:
        return "\n".join([self.about, *self.notes, *(str(claim) for claim in self.claims)])


def judge(claims: Sequence[Claim]) -> tuple[Claim, ...]:
    """Correct the p-values over all claims, and give verdicts.

    A claim is supported if its corrected p is at most 5 % and every required figure reaches its minimum;
    contradicted if the corrected p of an opposite is; else inconclusive.

    Args:
        claims: Claims with their evidence.

    Returns:
        The same claims with `p`, `p_corrected` and `verdict`.
    """
    testable = [claim for claim in claims if claim.weakest is not None]
    p_values = [
        float(np.max([part.p for part in claim.deciding_parts])) for claim in testable
    ]  # NaN if one is
    corrected = holm(p_values)
    against = holm([_against(claim) for claim in testable])
    judged = {
        claim.number: replace(claim, p=p, p_corrected=q, verdict=_verdict(claim, q, opposite))
        for claim, p, q, opposite in zip(testable, p_values, corrected, against, strict=True)
    }
    return tuple(judged.get(claim.number, claim) for claim in claims)


def _against(claim: Claim) -> float:
    defined = [part.p_against for part in claim.deciding_parts if math.isfinite(part.p_against)]
    return min(1.0, len(claim.deciding_parts) * min(defined)) if defined else math.nan


def _verdict(claim: Claim, p: float, p_against: float) -> Verdict:
    enough = all(part.estimate >= part.minimum for part in claim.deciding_parts)
    if p <= LEVEL and enough:
        return "supported"
    return "contradicted" if p_against <= LEVEL else "inconclusive"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
