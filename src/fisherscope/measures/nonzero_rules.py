"""Which eigenvalues of a Gram count as non-zero: named functions of stored eigenvalues.

A rule selects literally; `nonzero` then drops what rounding alone could have made (the floor), except under
`exact`, which believes the numbers as they stand. A rule that had selected such an eigenvalue gives a
*censored* condition number: the true one may be larger.
"""

from collections.abc import Callable
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

RELATIVE_CUT = 1e-3
"""Default cut of the `relative` rule: a singular value below this share of the largest is zero."""

ENERGY_SHARE = 0.99
"""Default share of the trace that the `energy` rule keeps."""


def exact(eigenvalues: FloatArray) -> FloatArray:
    """Those greater than zero, clamped at zero first: the literal rule of Liao et al. (2020)."""
    return eigenvalues[eigenvalues > 0]


def floor(eigenvalues: FloatArray) -> FloatArray:
    """All of them: what counts is left to the rounding floor alone."""
    return eigenvalues


def relative(eigenvalues: FloatArray, cut: float = RELATIVE_CUT) -> FloatArray:
    """Those whose singular value (the root) is above `cut` times the largest."""
    threshold = cut**2 * float(eigenvalues.max(initial=0.0))
    return eigenvalues[eigenvalues > threshold]


def energy(eigenvalues: FloatArray, share: float = ENERGY_SHARE) -> FloatArray:
    """The fewest of the largest that hold at least `share` of the trace."""
    descending = np.sort(exact(eigenvalues))[::-1]
    reached = np.cumsum(descending) >= share * descending.sum()
    return descending[: int(np.argmax(reached)) + 1] if len(descending) else descending


RULES: dict[str, Callable[..., FloatArray]] = {
    "floor": floor,
    "relative": relative,
    "energy": energy,
    "exact": exact,
}


def parse_rule(name: str) -> Callable[[FloatArray], FloatArray]:
    """The rule of that name, `"relative:1e-2"` and `"energy:0.9"` with their own number.

    Raises:
        ValueError: No such rule, a number where none belongs, or one outside (0, 1].
    """
    head, _, number = name.partition(":")
    if head not in RULES:
        near = get_close_matches(head, RULES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"choosing a non-zero rule: {name!r} is none of {', '.join(RULES)}{hint}")
    if not number:
        return RULES[head]
    if head not in ("relative", "energy"):
        raise ValueError(f"choosing a non-zero rule: {head!r} takes no number, received {name!r}")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise ValueError(f"choosing a non-zero rule: the number of {name!r} must be in (0, 1]")
    return lambda eigenvalues: RULES[head](eigenvalues, value)


def nonzero(eigenvalues: FloatArray, rule: str = "floor", floor: float = 0.0) -> FloatArray:
    """The eigenvalues that count under `rule`, none of them at or below the rounding floor.

    Args:
        eigenvalues: Shape (B,), any order, as stored (tiny negative ones included).
        rule: `floor`, `relative[:cut]`, `energy[:share]` or `exact`.
        floor: Largest eigenvalue that rounding alone could have made (`Spectrum.floor`); λmax/cond_limit² of
            a stored row. `exact` ignores it.
    """
    kept = parse_rule(rule)(np.asarray(eigenvalues, dtype=np.float64))
    return kept if rule == "exact" else kept[kept > max(floor, 0.0)]


def censored(eigenvalues: FloatArray, rule: str = "floor", floor: float = 0.0) -> bool:
    """Whether the rule selected an eigenvalue that only the rounding floor removed."""
    if rule == "exact":
        return False
    return bool(np.any(parse_rule(rule)(np.asarray(eigenvalues, dtype=np.float64)) <= max(floor, 0.0)))
