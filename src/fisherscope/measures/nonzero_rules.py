"""Which eigenvalues of a Gram count as non-zero: named functions of stored eigenvalues.

A rule selects literally; `nonzero` then drops what rounding alone could have made (the floor), except under
`exact`, which takes the numbers as they are. If a rule had selected such an eigenvalue, the condition number
is *censored*: the true one may be larger.
"""

from collections.abc import Callable
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from fisherscope.plain_text import short_repr

FloatArray = NDArray[np.float64]

RELATIVE_CUT = 1e-3
"""Default cut of the `relative` rule: a singular value below this share of the largest is zero."""

ENERGY_SHARE = 0.99
"""Default share of the trace that the `energy` rule keeps."""


def exact(eigenvalues: FloatArray) -> FloatArray:
    """Select those greater than zero: the literal rule of Liao et al. (2020)."""
    return eigenvalues[eigenvalues > 0]


def floor(eigenvalues: FloatArray) -> FloatArray:
    """Select all of them; the rounding floor alone decides which count."""
    return eigenvalues


def relative(eigenvalues: FloatArray, cut: float = RELATIVE_CUT) -> FloatArray:
    """Select those whose singular value (the square root) is above `cut` times the largest."""
    threshold = cut**2 * float(eigenvalues.max(initial=0.0))
    return eigenvalues[eigenvalues > threshold]


def energy(eigenvalues: FloatArray, share: float = ENERGY_SHARE) -> FloatArray:
    """Select the fewest of the largest that add up to at least `share` of the trace."""
    descending = np.sort(exact(eigenvalues))[::-1]
    enough = np.cumsum(descending) >= share * descending.sum()
    return descending[: int(np.argmax(enough)) + 1] if len(descending) else descending


RULES: dict[str, Callable[..., FloatArray]] = {
    "floor": floor,
    "relative": relative,
    "energy": energy,
    "exact": exact,
}
"""Non-zero rules by name; each takes eigenvalues of shape (B,) and returns those that it selects."""


def parse_rule(name: str) -> Callable[[FloatArray], FloatArray]:
    """Return the non-zero rule of a name, which may contain the rule's own number.

    Args:
        name: `floor`, `relative[:cut]`, `energy[:share]` or `exact`, such as `relative:1e-2`.

    Returns:
        A function from eigenvalues of shape (B,) to those that the rule selects.

    Raises:
        ValueError: There is no such rule, the rule takes no number, or the number is outside (0, 1].

    Example:
        ```python
        import numpy as np

        rule = fs.measures.parse_rule("relative:0.5")
        assert rule(np.array([4.0, 1.5, 0.5])).tolist() == [4.0, 1.5]
        ```
    """
    head, _, number = name.partition(":")
    if head not in RULES:
        near = get_close_matches(head, RULES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"choosing a non-zero rule: received {short_repr(name)}; expected one of {', '.join(RULES)}{hint}"
        )
    if not number:
        return RULES[head]
    if head not in ("relative", "energy"):
        raise ValueError(
            f"choosing a non-zero rule: {short_repr(head)} takes no number, received {short_repr(name)}"
        )
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise ValueError(f"choosing a non-zero rule: the number in {name!r} must be in (0, 1]")
    return lambda eigenvalues: RULES[head](eigenvalues, value)


def nonzero(eigenvalues: FloatArray, rule: str = "floor", floor: float = 0.0) -> FloatArray:
    """Return the eigenvalues that count under a rule, all of them above the rounding floor.

    {λ : the rule selects λ and λ > floor}. The rule `exact` is that of Liao et al. 2020; the floor is
    explained at `spectrum`.

    Args:
        eigenvalues: Shape (B,), any order, as stored (tiny negative ones included).
        rule: `floor`, `relative[:cut]`, `energy[:share]` or `exact`.
        floor: Largest eigenvalue that rounding alone could have made (`Spectrum.floor`; λmax/cond_limit² of a
            stored row). `exact` ignores it.

    Returns:
        Eigenvalues in the unit of the input, shape (rank,).

    Raises:
        ValueError: There is no such rule.

    Example:
        ```python
        import numpy as np

        values = np.array([4.0, 1.0, 1e-18])
        assert fs.measures.nonzero(values, floor=1e-15).tolist() == [4.0, 1.0]
        ```
    """
    selected = parse_rule(rule)(np.asarray(eigenvalues, dtype=np.float64))
    return selected if rule == "exact" else selected[selected > max(floor, 0.0)]


def censored(eigenvalues: FloatArray, rule: str = "floor", floor: float = 0.0) -> bool:
    """Return whether the rule selects an eigenvalue that only the rounding floor removes.

    Then the condition number is a lower bound: a censored observation in the sense of statistics.

    Args:
        eigenvalues: Shape (B,), any order.
        rule: `floor`, `relative[:cut]`, `energy[:share]` or `exact`.
        floor: Largest eigenvalue that rounding alone could have made.

    Returns:
        True if a selected eigenvalue is at or below the floor; False under `exact`.

    Raises:
        ValueError: There is no such rule.

    Example:
        ```python
        import numpy as np

        assert fs.measures.censored(np.array([4.0, 1e-18]), floor=1e-15)
        ```
    """
    if rule == "exact":
        return False
    return bool(np.any(parse_rule(rule)(np.asarray(eigenvalues, dtype=np.float64)) <= max(floor, 0.0)))
