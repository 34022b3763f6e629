"""The inner-product and orthogonality tests (Bollapragada, Byrd & Nocedal 2018)."""

from dataclasses import dataclass
from typing import ClassVar

from fisherscope.policy.closed_loop import ClosedLoop, Parts, ratio
from fisherscope.policy.decision import require_above


@dataclass(frozen=True)
class InnerProduct(ClosedLoop):
    """Grow until both tests of the augmented inner-product test pass, `s32-inner-product`.

    The inner-product test asks for Var(g_i·ĝ)/(θ²|ĝ|⁴) samples, the orthogonality test for
    Var(g_i − (g_i·ĝ/|ĝ|²)ĝ)/(ν²|ĝ|²); the larger counts, and the size never falls. `nu` is tan 80° in the
    paper, which is rarely the larger. Not included: their fallback to a gradient averaged over iterations,
    which one Gram cannot give.

    Source: Bollapragada, Byrd & Nocedal, SIAM J. Optim. 28(4), 2018, eq. 2.6, 3.3 and section 5.

    Args:
        batch_size: Batch size of the first batches, at least 2.
        rate: Learning-rate schedule.
        memory: Weight in [0, 1) of the previous measurements; 0 for none.
        theta: Threshold θ of the inner-product test, above 0.
        nu: Threshold ν of the orthogonality test, above 0.

    Raises:
        ValueError: An argument is outside its range; from `update`: a row lacks a key.

    Example:
        ```python
        policy = fs.policy.parse("s32-inner-product:theta=0.5", lr=0.1, epochs=10)
        row = {"test/inner_product": 1.0, "test/orthogonality": 1.0, "gradient/norm": 1.0, "batch_size": 32}
        _, decision = policy.update(policy.init(), fs.policy.Observation(0, 32, 1000, row))
        assert decision.batch_size == 128
        ```
    """

    theta: float = 0.9
    nu: float = 5.84

    family: ClassVar[str] = "inner-product"
    parts: ClassVar[tuple[str, ...]] = ("along", "across", "square")

    def __post_init__(self) -> None:
        super().__post_init__()
        require_above("building an inner-product policy", "theta", self.theta, 0)
        require_above("building an inner-product policy", "nu", self.nu, 0)

    def target_size(self, parts: Parts, measured_samples: int, size: int, lr: float) -> float | None:
        """Return the size at which both tests pass, at least the current (see `ClosedLoop`)."""
        along = ratio(parts["along"], self.theta**2 * parts["square"] ** 2)
        across = ratio(parts["across"], self.nu**2 * parts["square"])
        return None if along is None or across is None else max(along, across, size)
