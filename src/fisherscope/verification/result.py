"""The result of `examine`, and its text."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from fisherscope.gram import Coverage
from fisherscope.verification.comparison import Comparison
from fisherscope.verification.overhead import SHARE, Overhead


@dataclass(frozen=True)
class Examination:
    """The result of an examination; made by `examine`. `str` of it is the report.

    Attributes:
        name: The model's name.
        batch_size: Samples of the batch that was examined.
        parameters: Trainable elements.
        coverage: One row a trainable parameter.
        proofs: Comparisons of the Gram with references.
        neutrality: In words, whether a measured step changes training: "bit for bit as unmeasured: …".
        warnings: What makes measurements of this model doubtful.
        remarks: What its user should know.
        cond: Condition number c of the batch; None if it has none.
        accuracy: Bound of its relative error.
        cost: Time of a measured pass.
    """

    name: str
    batch_size: int
    parameters: int
    coverage: list[Coverage]
    proofs: list[Comparison]
    neutrality: str
    warnings: list[str]
    remarks: list[str]
    cond: float | None
    accuracy: float | None
    cost: Overhead

    @property
    def exact(self) -> bool:
        """Whether all comparisons agree, one of them independent, and every parameter is covered."""
        computed = [proof for proof in self.proofs if proof.error is not None]
        if any(proof.contradicts for proof in self.proofs):
            return False
        complete = not any(row.rule == "left out" for row in self.coverage)
        independent = any(proof.independent for proof in computed)
        return independent and complete and all(proof.exact for proof in computed)

    def as_dict(self) -> dict[str, Any]:
        """Return all fields and `exact` as JSON values.

        Returns:
            Values by field, those of nested records as mappings.
        """
        return {
            "name": self.name, "exact": self.exact, "batch_size": self.batch_size,
            "parameters": self.parameters,
            "coverage": [
                {"parameter": row.parameter, "rule": row.rule, "count": row.count, "measured": row.measured}
                for row in self.coverage
            ],
            "proofs": [proof.as_dict() for proof in self.proofs], "neutrality": self.neutrality,
            "warnings": self.warnings, "remarks": self.remarks, "cond": self.cond, "accuracy": self.accuracy,
            "cost": self.cost.as_dict(),
        }  # fmt: skip

    def __str__(self) -> str:
        return _report(self)


def _report(found: Examination) -> str:
    """Return the report that `fisherscope doctor` prints."""
    whole = all(proof.error is not None for proof in found.proofs)
    verdict = (
        "NOT PROVEN EXACT" if not found.exact else "exact" if whole else "exact as far as it could be checked"
    )
    lines = [f"{found.name}: the Gram of {found.batch_size} samples is {verdict}", ""]
    lines += ["Coverage", *_coverage(found), "", "Exactness, in float64"]
    for proof in found.proofs:
        if proof.error is None:
            lines.append(f"  –  B = {proof.batch_size:<4} {proof.way}: {proof.note}")
            continue
        mark, note = "✓" if proof.exact else "✗", f" ({proof.note})" if proof.note else ""
        lines.append(
            f"  {mark}  B = {proof.batch_size:<4} {proof.way}: relative error {proof.error:.0e}, "
            f"allowed {proof.allowed:.0e}{note}"
        )
    lines.append(f"  A measured step is {found.neutrality}.")
    if found.cond is not None:
        bound = "" if found.accuracy is None else f", in error by at most {found.accuracy:.0e} of itself"
        lines.append(f"  c = {found.cond:.3g}{bound}.")
    lines += ["", "Warnings", *(f"  ! {text}" for text in found.warnings)] if found.warnings else []
    lines += ["", "Fine", *(f"  {text}" for text in found.remarks)] if found.remarks else []
    return "\n".join([*lines, "", "Cost", *_cost(found)])


def _coverage(found: Examination) -> list[str]:
    rules: dict[str, list[int]] = defaultdict(list)
    for row in found.coverage:
        rules[row.rule].append(row.count)
    total = found.parameters or 1
    return [
        f"  {sum(counts):>12,}  {sum(counts) / total:7.2%}  {len(counts):>4} parameters  {rule}"
        for rule, counts in sorted(rules.items(), key=lambda item: -sum(item[1]))
    ]


def _cost(found: Examination) -> list[str]:
    cost = found.cost
    return [
        f"  plain forward and backward: {1e3 * cost.plain_seconds:.1f} ms; measured {cost.neutral_ratio:.2f} "
        f"×, fused {cost.fused_ratio:.2f} × (medians of {cost.turns} pairs)",
        f"  fs.Monitor(model, optimizer, every={cost.every}) takes about {SHARE:.0%} of the time",
    ]
