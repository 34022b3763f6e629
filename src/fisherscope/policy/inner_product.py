"""The inner-product and orthogonality tests: enough samples for a descent direction (Bollapragada et al.)."""

from dataclasses import dataclass
from typing import ClassVar

from fisherscope.policy.closed_loop import ClosedLoop, Parts, ratio
from fisherscope.policy.decision import require_above


@dataclass(frozen=True)
class InnerProduct(ClosedLoop):
    """`s32-inner-product`: both tests of the augmented inner-product test; the size never falls.

    The inner-product test asks for Var(g_i·ĝ)/(θ²|ĝ|⁴) samples, the orthogonality test for
    Var(g_i − (g_i·ĝ/|ĝ|²)ĝ)/(ν²|ĝ|²); the larger counts. `nu` is tan 80° in the paper, which rarely binds.
    Left out: their fallback to a gradient averaged over iterations, which one Gram cannot give. Source:
    Bollapragada, Byrd & Nocedal, SIAM J. Optim. 28(4), 2018, eq. 2.6, 3.3 and section 5.
    """

    theta: float = 0.9
    nu: float = 5.84

    family: ClassVar[str] = "inner-product"
    parts: ClassVar[tuple[str, ...]] = ("along", "across", "square")

    def __post_init__(self) -> None:
        super().__post_init__()
        require_above("building an inner-product policy", "theta", self.theta, 0)
        require_above("building an inner-product policy", "nu", self.nu, 0)

    def wants(self, parts: Parts, measured: int, size: int, lr: float) -> float | None:
        along = ratio(parts["along"], self.theta**2 * parts["square"] ** 2)
        across = ratio(parts["across"], self.nu**2 * parts["square"])
        return None if along is None or across is None else max(along, across, size)
